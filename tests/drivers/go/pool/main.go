// pgxpool, which sends nothing when a connection comes back, and a listener that hears all clients. What each turn is about is told in
// tests/drivers/pools/work.py.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	insertRow = "INSERT INTO ledger (client, turn, amount) VALUES ($1, $2, $3)"
	sumRows   = "SELECT count(*)::int, coalesce(sum(amount), 0)::int FROM ledger WHERE client = $1"
)

var ctx = context.Background()

var clients, turns = number("CLIENTS"), number("TURNS")

type tally struct {
	mutex sync.Mutex
	Turns int      `json:"turns"`
	Heard bool     `json:"heard"`
	Wrong []string `json:"wrong"`
}

// queryer is a connection or a transaction.
type queryer interface {
	Exec(context.Context, string, ...any) (pgconn.CommandTag, error)
	QueryRow(context.Context, string, ...any) pgx.Row
}

func number(name string) int {
	n, err := strconv.Atoi(os.Getenv(name))
	die(err)
	return n
}

func die(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// rowsBefore tells how many rows a client has kept of the turns before this one.
func rowsBefore(turn int) (count int) {
	for t := range turn {
		switch t % 8 {
		case 0, 2, 5, 6:
			count++
		}
	}
	return
}

// value fails unless the first column is as wanted.
func value[T comparable](q queryer, wanted T, sql string, args ...any) error {
	var found T
	if err := q.QueryRow(ctx, sql, args...).Scan(&found); err != nil {
		return err
	}
	if found != wanted {
		return fmt.Errorf("%s: %v, expected %v", sql, found, wanted)
	}
	return nil
}

func total(q queryer, client, count int) error {
	var rows, sum int
	if err := q.QueryRow(ctx, sumRows, client).Scan(&rows, &sum); err != nil {
		return err
	}
	if rows != count || sum != count*(client+1) {
		return fmt.Errorf("%d rows and sum %d, expected %d and %d", rows, sum, count, count*(client+1))
	}
	return nil
}

func insert(q queryer, client, turn int) error {
	_, err := q.Exec(ctx, insertRow, client, turn, client+1)
	return err
}

func notify(c *pgxpool.Conn, client, turn int) error {
	_, err := c.Exec(ctx, "SELECT pg_notify('work', $1)", strconv.Itoa(client))
	return errors.Join(insert(c, client, turn), err)
}

func rollback(c *pgxpool.Conn, client, turn int) error {
	tx, err := c.Begin(ctx)
	if err != nil {
		return err
	}
	return errors.Join(insert(tx, client, turn), total(tx, client, rowsBefore(turn)+1), tx.Rollback(ctx))
}

func local(c *pgxpool.Conn, client, turn int) error {
	who := fmt.Sprintf("%d.%d", client, turn)
	return pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "SET LOCAL work.who = '"+who+"'")
		return errors.Join(err, insert(tx, client, turn), value(tx, who, "SELECT current_setting('work.who')"))
	})
}

func settings(c *pgxpool.Conn, client, turn int) error {
	who, path := fmt.Sprintf("%d.%d", client, turn), fmt.Sprintf("client_%d, public", client)
	_, first := c.Exec(ctx, "SET work.who = '"+who+"'")
	_, second := c.Exec(ctx, "SET search_path = "+path)
	return errors.Join(first, second, total(c, client, rowsBefore(turn)), value(c, who, "SELECT current_setting('work.who')"),
		value(c, path, "SHOW search_path"))
}

func cursor(c *pgxpool.Conn, client, _ int) error {
	return pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "DECLARE portions CURSOR FOR SELECT $1::int * 1000 + generate_series(1, 50)", pgx.QueryExecModeSimpleProtocol, client)
		if err != nil {
			return err
		}
		for next := client*1000 + 1; next <= client*1000+50; next++ {
			if err := errors.Join(value(tx, next, "FETCH portions"), value(tx, client, "SELECT $1::int", client)); err != nil {
				return err
			}
		}
		return nil
	})
}

func copyIn(c *pgxpool.Conn, client, turn int) error {
	_, err := c.CopyFrom(ctx, pgx.Identifier{"ledger"}, []string{"client", "turn", "amount"}, pgx.CopyFromRows([][]any{{client, turn, client + 1}}))
	return err
}

func failure(c *pgxpool.Conn, client, turn int) error {
	_, err := c.Exec(ctx, "SELECT 1 / $1::int", 0)
	var told *pgconn.PgError
	if !errors.As(err, &told) || told.Code != "22012" {
		return fmt.Errorf("1 / 0: %v", err)
	}
	return insert(c, client, turn)
}

func ownRows(c *pgxpool.Conn, client, turn int) error {
	return total(c, client, rowsBefore(turn))
}

var kinds = []func(*pgxpool.Conn, int, int) error{notify, rollback, local, settings, cursor, copyIn, failure, ownRows}

func (t *tally) play(pool *pgxpool.Pool, client int) {
	for turn := range turns {
		err := pool.AcquireFunc(ctx, func(c *pgxpool.Conn) error { return kinds[turn%len(kinds)](c, client, turn) })
		t.mutex.Lock()
		t.Turns++
		if err != nil && len(t.Wrong) < 10 {
			t.Wrong = append(t.Wrong, fmt.Sprintf("client %d, turn %d: %v", client, turn, err))
		}
		t.mutex.Unlock()
	}
}

// listen returns whether each client was heard as often as it has spoken.
func listen(c *pgx.Conn) bool {
	limited, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	times := (turns + 7) / 8
	heard := map[string]int{}
	for range clients * times {
		n, err := c.WaitForNotification(limited)
		die(err)
		heard[n.Payload]++
		if heard[n.Payload] > times {
			return false
		}
	}
	return true
}

func main() {
	config, err := pgxpool.ParseConfig("")
	die(err)
	config.MaxConns = int32(clients)
	pool, err := pgxpool.NewWithConfig(ctx, config)
	die(err)
	listener, err := pgx.Connect(ctx, "")
	die(err)
	_, err = listener.Exec(ctx, "LISTEN work")
	die(err)
	result := &tally{Wrong: []string{}}
	var all sync.WaitGroup
	for client := range clients {
		all.Go(func() { result.play(pool, client) })
	}
	result.Heard = listen(listener)
	all.Wait()
	die(listener.Close(ctx))
	pool.Close()
	die(json.NewEncoder(os.Stdout).Encode(result))
}
