package versions

const killAt = "ROUNDTABLE_VERSIONS_KILL"

func killed() {}
