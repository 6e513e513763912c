package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5/pgconn"
)

// line is what a step prints.
type line struct {
	Scenario string   `json:"scenario"`
	Step     string   `json:"step"`
	Got      *any     `json:"got,omitempty"`
	Error    *failure `json:"error,omitempty"`
	Status   string   `json:"status,omitempty"`
}

type failure struct {
	SQLState   string `json:"sqlstate"`
	Severity   string `json:"severity"`
	Message    string `json:"message"`
	Detail     string `json:"detail"`
	Hint       string `json:"hint"`
	Position   int32  `json:"position"`
	Constraint string `json:"constraint"`
	Routine    string `json:"routine"`
}

// scenario is the one being played.
var scenario string

// die ends the program for an error that no step expects.
func die(err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", scenario, err)
		os.Exit(1)
	}
}

// report prints a step's result, or the server's error, and the connection's transaction status where there is a connection.
func report(c statusTeller, step string, got any, err error) {
	l := line{Scenario: scenario, Step: step}
	var server *pgconn.PgError
	switch {
	case err == nil:
		l.Got = &got
	case errors.As(err, &server):
		l.Error = &failure{server.Code, server.Severity, server.Message, server.Detail, server.Hint, server.Position,
			server.ConstraintName, server.Routine}
	default:
		die(err)
	}
	if c != nil {
		l.Status = string(c.PgConn().TxStatus())
	}
	text, err := json.Marshal(l)
	die(err)
	fmt.Println(string(text))
}

// statusTeller is a *pgx.Conn, or nil where a step has no one connection.
type statusTeller interface{ PgConn() *pgconn.PgConn }
