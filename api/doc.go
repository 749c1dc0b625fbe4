// Package api is a manager's HTTP interface: the cluster's state as JSON, the requests that change it, health checks and
// metrics. Its routes are a contract (design/surface.md).
//
// It owns the shapes that programs read (view.go, described for them in openapi.yaml), the one map from errors to HTTP
// answers (errors.go), and who may ask for what (identity.go) and how often (limit.go). It never decides: what a request
// asks for goes to cluster and control, and a reading request only looks at what they already know, so that the status
// never waits for work under way, for a lost leader or for another member (?all=true asks the others, with a deadline).
// Handlers are plain functions of a *http.Request; only route.go knows the router.
//
// Read route.go first: it has every route with its role, and what all requests go through. Then overview.go and alarms.go
// (what is wrong, in words) and change.go (the shape of every acting request).
package api
