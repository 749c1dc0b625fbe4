// Package observe tests what an operator watches: the alerts, records and dashboard of deploy/, with a real Prometheus that
// scrapes real managers, and the managers' logs. It has no code of its own beside the tests.
//
// Read prometheus_test.go first, then alerts_test.go: which drill causes which alert, and no other.
package observe
