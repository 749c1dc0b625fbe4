package main

import (
	"os"

	"roundtable/cmd/simnodeos/sim"
)

func main() { os.Exit(sim.Main(os.Args[1:])) }
