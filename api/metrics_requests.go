package api

import (
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
)

// requests counts what was answered. Its labels are the routes' own paths, never what a client wrote.
type requests struct {
	total   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
	streams prometheus.Gauge
}

// requestBounds are in seconds; what waits for an operation (?wait=) is beyond them.
var requestBounds = []float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1, 5}

func newRequests() requests {
	return requests{
		total:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: famRequests.name, Help: famRequests.help}, famRequests.labels),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: famAPISeconds.name, Help: famAPISeconds.help, Buckets: requestBounds}, famAPISeconds.labels),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{Name: famStreams.name, Help: famStreams.help}),
	}
}

const (
	noRoute     = "none" // counts requests for paths that there are not, and methods that a path does not take
	eventsRoute = "GET /cluster/events"
)

// counted is the router's middleware: it has errors answered at once, for their status is to be counted as well.
func (s *Server) counted(routes []route) echo.MiddlewareFunc {
	timed := map[string]bool{} // whether the time of an answer says something: a stream lasts as long as its client likes
	for _, rt := range routes {
		timed[rt.method+" "+rt.path] = rt.stream == nil
	}
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			method := c.Request().Method
			if method == http.MethodHead {
				method = http.MethodGet
			}
			route := method + " " + c.Path()
			if _, known := timed[route]; !known {
				route = noRoute
			}
			if route == eventsRoute {
				s.requests.streams.Inc()
				defer s.requests.streams.Dec()
			}
			began, serve := time.Now(), next
			if route == noRoute { // a route of ours looks after it
				if err := s.limited(c.Request(), Identity{}); err != nil {
					serve = func(echo.Context) error { return err }
				}
			}
			if err := serve(c); err != nil {
				c.Error(err)
			}
			s.requests.total.WithLabelValues(route, strconv.Itoa(c.Response().Status)).Inc()
			if took := time.Since(began); timed[route] {
				s.requests.seconds.WithLabelValues(route).Observe(took.Seconds())
			}
			return nil
		}
	}
}
