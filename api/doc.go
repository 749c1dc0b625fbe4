// Package api is a manager's HTTP interface: the cluster's state as JSON, the requests that change it, health checks and
// metrics. Its routes are a contract (design/surface.md).
//
// It owns the shapes that programs read (view.go) and the one map from errors to HTTP answers (errors.go). It never
// decides: what a request asks for goes to cluster and control, and a reading request only looks at what they already
// know, so that the status never waits for work under way, for a lost leader or for another member (?all=true asks the
// others, with a deadline). Handlers are plain functions of a *http.Request; only server.go knows the router.
//
// Read server.go first, then overview.go (what is wrong, in words) and handoff.go (the shape of every acting request).
package api
