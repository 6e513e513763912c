// pgx: parameters, prepared statements, nested transactions, batches, pipelines, COPY, notifications, cancel, pgxpool.
package main

import (
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

var ctx = context.Background()

var largeText = strings.Repeat("pgatomic", 20*1024*1024/8)

// errRefused makes a block fail without an error of the server's.
var errRefused = errors.New("refused")

// queryer is a connection or a transaction.
type queryer interface {
	Exec(context.Context, string, ...any) (pgconn.CommandTag, error)
	Query(context.Context, string, ...any) (pgx.Rows, error)
	Begin(context.Context) (pgx.Tx, error)
}

// driverOptions are options of pgx, such as default_query_exec_mode=exec.
var driverOptions = os.Getenv("DRIVER_OPTIONS")

func connect(options string) *pgx.Conn {
	c, err := pgx.Connect(ctx, strings.TrimSpace(options+" "+driverOptions))
	die(err)
	return c
}

func query(q queryer, sql string, args ...any) ([][]any, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) ([]any, error) { return row.Values() })
	if found == nil {
		found = [][]any{}
	}
	return found, err
}

// change runs a statement; the result is the rows affected, nil for commands that affect none.
func change(q queryer, sql string, args ...any) (any, error) {
	tag, err := q.Exec(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	if tag.Insert() || tag.Update() || tag.Delete() {
		return tag.RowsAffected(), nil
	}
	return nil, nil
}

// must runs a statement that belongs to no step.
func must(q queryer, sql string, args ...any) {
	_, err := q.Exec(ctx, sql, args...)
	die(err)
}

func insert(q queryer, id int) (any, error) {
	return change(q, "INSERT INTO item (id) VALUES ($1)", id)
}

func ids(q queryer, sql string, args ...any) ([]int, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int])
}

func left(q queryer, hundred int) ([]int, error) {
	return ids(q, "SELECT id FROM item WHERE id / 100 = $1 ORDER BY id", hundred)
}

func sum(numbers []int) int {
	total := 0
	for _, n := range numbers {
		total += n
	}
	return total
}

// player runs steps on one connection.
type player struct{ *pgx.Conn }

func (p player) query(step, sql string, args ...any) {
	got, err := query(p, sql, args...)
	report(p, step, got, err)
}

func (p player) change(step, sql string, args ...any) {
	got, err := change(p, sql, args...)
	report(p, step, got, err)
}

func (p player) insert(id int) {
	got, err := insert(p, id)
	report(p, fmt.Sprintf("insert %d", id), got, err)
}

func (p player) left(hundred int) {
	got, err := left(p, hundred)
	report(p, "left", got, err)
}

func values(p player) {
	p.query("literals", "SELECT 42, 'Grüße', NULL, true")
	p.query("parameters", "SELECT $1::int + 1, $2::text || '!', encode($3::bytea, 'hex')", 7, "é", []byte{0, 255, 16})
	p.query("arrays and numerics", "SELECT ARRAY[1, 2, 3], (1.50::numeric)::text")
	p.query("no rows", "SELECT 1 WHERE false")
	found, err := ids(p, "SELECT generate_series(1, 10000)")
	report(p, "many rows", []int{len(found), sum(found)}, err)
}

func transaction(p player) {
	tx, err := p.Begin(ctx)
	die(err)
	p.insert(201)
	report(p, "commit", nil, tx.Commit(ctx))
	tx, err = p.Begin(ctx)
	die(err)
	p.insert(202)
	report(p, "rollback", nil, tx.Rollback(ctx))
	p.left(2)
}

// block runs body in a transaction, or in a savepoint of the one that q is; an errRefused in it is no failure of the caller's.
func block(q queryer, body func(tx pgx.Tx) error) error {
	err := pgx.BeginFunc(ctx, q, body)
	if errors.Is(err, errRefused) {
		return nil
	}
	return err
}

func insertAll(ids ...int) func(pgx.Tx) error {
	return func(tx pgx.Tx) error {
		for _, id := range ids {
			if _, err := insert(tx, id); err != nil {
				return err
			}
		}
		return nil
	}
}

func refuseAfter(bodies ...func(pgx.Tx) error) func(pgx.Tx) error {
	return func(tx pgx.Tx) error {
		for _, body := range bodies {
			if err := body(tx); err != nil {
				return err
			}
		}
		return errRefused
	}
}

func nested(p player) {
	show := func(step string, err error) {
		if err != nil {
			report(p, step, nil, err)
			return
		}
		found, err := left(p, 3)
		report(p, step, found, err)
	}

	show("inner fails, outer commits", block(p, func(tx pgx.Tx) error {
		die(insertAll(301)(tx))
		die(block(tx, refuseAfter(insertAll(302))))
		return block(tx, insertAll(303))
	}))
	show("inner commits, outer fails", block(p, refuseAfter(insertAll(304), func(tx pgx.Tx) error {
		return block(tx, insertAll(305))
	})))
	var descend func(depth int) func(pgx.Tx) error
	descend = func(depth int) func(pgx.Tx) error {
		return func(tx pgx.Tx) error {
			die(insertAll(305 + depth)(tx))
			if depth < 5 {
				die(block(tx, descend(depth+1)))
			}
			if depth == 3 {
				return errRefused
			}
			return nil
		}
	}
	show("the third of five fails", block(p, descend(1)))
	var failure error
	die(block(p, func(tx pgx.Tx) error {
		die(insertAll(311)(tx))
		failure = block(tx, insertAll(311))
		return insertAll(312)(tx)
	}))
	show("a duplicate in the inner block", failure)
	p.left(3)
}

func errorsInside(p player) {
	must(p, "begin")
	p.query("division by zero", "SELECT 1 / $1::int", 0)
	p.query("after it", "SELECT 1")
	p.change("rollback", "rollback")
	must(p, "begin")
	p.insert(401)
	must(p, "SAVEPOINT before")
	got, err := insert(p, 401)
	report(p, "duplicate", got, err)
	p.change("rollback to savepoint", "ROLLBACK TO before")
	p.insert(402)
	must(p, "SAVEPOINT before")
	p.query("syntax", "SELECT 1 FRM item")
	p.change("rollback to savepoint again", "ROLLBACK TO before")
	p.query("no such table", "SELECT * FROM missing")
	p.change("rollback to savepoint at last", "ROLLBACK TO before")
	p.change("commit", "COMMIT")
	tx, err := p.Begin(ctx)
	die(err)
	p.insert(403)
	p.query("division by zero again", "SELECT 1 / 0")
	err = tx.Commit(ctx)
	report(p, "commit of a failed transaction", fmt.Sprint(err), nil)
	p.left(4)
}

func bareError(p player) {
	p.insert(501)
	p.query("division by zero", "SELECT 1 / $1::int", 0)
	p.query("next", "SELECT 1")
	p.change("rollback", "ROLLBACK")
	p.insert(502)
	p.left(5)
}

func deferred(p player) {
	tx, err := p.Begin(ctx)
	die(err)
	p.change("insert 601", "INSERT INTO item (id, owner) VALUES (601, 99)")
	report(p, "commit", nil, tx.Commit(ctx))
}

// copyIn streams text; CopyFrom, pgx's own way, is the step "in".
func copyRows(p player) {
	in, err := p.CopyFrom(ctx, pgx.Identifier{"bulk"}, []string{"id", "body"},
		pgx.CopyFromSlice(1000, func(i int) ([]any, error) { return []any{i, fmt.Sprintf("row %d", i)}, nil }))
	report(p, "in", in, err)
	var out strings.Builder
	_, err = p.PgConn().CopyTo(ctx, &out, "COPY bulk (id, body) TO STDOUT")
	found := []int{}
	for _, text := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		var id int
		fmt.Sscan(text, &id)
		found = append(found, id)
	}
	report(p, "out", []int{len(found), sum(found)}, err)
	must(p, "begin")
	_, err = p.PgConn().CopyFrom(ctx, strings.NewReader("5000\tgood\nnot a number\tbad\n"), "COPY bulk (id, body) FROM STDIN")
	report(p, "bad data", nil, err)
	p.change("rollback", "rollback")
	p.query("left", "SELECT count(*) FROM bulk")
}

func large(p player) {
	var text string
	err := p.QueryRow(ctx, "SELECT $1::text", largeText).Scan(&text)
	report(p, "there and back", []any{len(text), fmt.Sprintf("%x", md5.Sum([]byte(text)))}, err)
	must(p, "INSERT INTO bulk (id, body) VALUES (800000, $1)", largeText)
	p.query("stored", "SELECT length(body), md5(body) FROM bulk WHERE id = 800000")
}

// sleeps asks, on a connection of its own, whether the sleeper of this database is asleep.
const sleeps = `SELECT 1 FROM pg_stat_activity
	WHERE datname = current_database() AND wait_event = 'PgSleep'`

func cancel(p player) {
	must(p, "begin")
	cancelled := make(chan error)
	go func() {
		watch := connect("")
		for asleep := 0; asleep == 0; {
			found, err := ids(watch, sleeps)
			die(err)
			asleep = len(found)
			must(watch, "SELECT pg_stat_clear_snapshot()")
		}
		die(watch.Close(ctx))
		cancelled <- p.PgConn().CancelRequest(ctx)
	}()
	p.query("sleep", "SELECT pg_sleep(60)")
	die(<-cancelled)
	p.change("rollback", "rollback")
	p.query("usable", "SELECT 1")
}

func listen(p player) {
	heard := [][]string{}
	hear := func(n *pgconn.Notification) { heard = append(heard, []string{n.Channel, n.Payload}) }
	take := func() { // what has come in with other replies waits in the connection
		already, stop := context.WithCancel(ctx)
		stop()
		for {
			n, err := p.WaitForNotification(already)
			if err != nil {
				return
			}
			hear(n)
		}
	}

	speaker := connect("")
	p.change("listen", "LISTEN news")
	must(speaker, "NOTIFY news, 'hello'")
	must(p, "SHOW timezone") // opens no request, in which nothing could be heard
	take()
	report(p, "heard at once", heard, nil)
	die(speaker.Close(ctx))
	if len(heard) == 0 {
		n, err := p.WaitForNotification(ctx)
		die(err)
		hear(n)
	}
	report(p, "heard after the end", heard, nil)
	p.change("unlisten", "UNLISTEN news")
	take()
	report(p, "heard at last", heard, nil)
}

func tasks(p player) {
	notify := func(step, payload string) error {
		p.query(step, "SELECT pg_notify($1, $2)::text", "tasks", payload)
		return nil
	}
	inBlock := func(step, payload string) func(pgx.Tx) error {
		return func(pgx.Tx) error { return notify(step, payload) }
	}
	p.change("NOTIFY", "NOTIFY tasks, 'notify'")
	die(notify("pg_notify", "function"))
	die(block(p, inBlock("committed", "committed")))
	die(block(p, refuseAfter(inBlock("rolled back", "rolled back"))))
	die(block(p, func(tx pgx.Tx) error {
		die(block(tx, refuseAfter(inBlock("undone by a savepoint", "undone"))))
		return notify("kept by it", "kept")
	}))
	must(p, "begin")
	p.query("bad channel", "SELECT pg_notify($1, $2)", "", "x")
	p.change("rollback", "rollback")
	p.change("NOTIFY without payload", "NOTIFY tasks")
}

// pool: a connection that comes back in a transaction is closed by pgxpool, and a new one takes its place.
func pool() {
	config, err := pgxpool.ParseConfig(driverOptions)
	die(err)
	config.MaxConns = 1
	p, err := pgxpool.NewWithConfig(ctx, config)
	die(err)
	defer p.Close()

	use := func(step, label, outcome string, body func(*pgxpool.Conn) (any, error)) {
		c, err := p.Acquire(ctx)
		die(err)
		defer c.Release()
		must(c, "SELECT set_config('pgatomic.request', $1, false)", label)
		got, err := body(c)
		if outcome != "" {
			must(c, "SELECT set_config('pgatomic.outcome', $1, false)", outcome)
		}
		report(nil, step, got, err)
	}
	inserting := func(id int) func(*pgxpool.Conn) (any, error) {
		return func(c *pgxpool.Conn) (any, error) { return insert(c, id) }
	}

	use("first use", "/pool/first", "commit", inserting(1201))
	use("left open", "/pool/open", "", func(c *pgxpool.Conn) (any, error) {
		must(c, "begin")
		return insert(c, 1202)
	})
	use("next use", "/pool/next", "commit", func(c *pgxpool.Conn) (any, error) { return left(c, 12) })
	use("marked", "/pool/marked", "commit", inserting(1203))
	use("marked, no outcome", "/pool/forgotten", "", inserting(1204))
	use("next mark", "/pool/last", "commit", inserting(1205))
}

func prepared(p player) {
	_, err := p.Prepare(ctx, "identity", "SELECT $1::int")
	die(err)
	found := []int{}
	for i := 1; i <= 100; i++ {
		var n int
		die(p.QueryRow(ctx, "identity", i).Scan(&n))
		found = append(found, n)
	}
	report(p, "often", []int{len(found), sum(found)}, nil)
	must(p, "begin")
	_, err = p.Prepare(ctx, "division", "SELECT 100 / $1::int")
	die(err)
	_, err = ids(p, "division", 10)
	die(err)
	p.query("fails", "division", 0)
	p.change("rollback", "rollback")
	p.query("again", "division", 20)
}

// batch sends its statements ahead of one Sync.
func pipeline(p player) {
	together := func(queue func(*pgx.Batch)) ([]int64, error) {
		b := &pgx.Batch{}
		queue(b)
		results := p.SendBatch(ctx, b)
		affected := []int64{}
		for range b.Len() {
			tag, err := results.Exec()
			if err != nil {
				results.Close()
				return nil, err
			}
			affected = append(affected, tag.RowsAffected())
		}
		return affected, results.Close()
	}
	insertion := "INSERT INTO item (id) VALUES ($1)"

	got, err := together(func(b *pgx.Batch) {
		b.Queue(insertion, 1401)
		b.Queue(insertion, 1402)
	})
	report(p, "good", got, err)
	got, err = together(func(b *pgx.Batch) {
		b.Queue(insertion, 1403)
		b.Queue("SELECT 1 / $1::int", 0)
		b.Queue(insertion, 1404)
	})
	report(p, "bad", got, err)
	p.query("next", "SELECT 1")
	p.change("rollback", "rollback")
	p.insert(1405)
	p.left(14)
}

func marks(p player) {
	request := func(step, label string) { p.change(step, "SET pgatomic.request = '"+label+"'") }
	outcome := func(step, how string) { p.change(step, "SET pgatomic.outcome = '"+how+"'") }

	request("request", "/shop/checkout")
	p.insert(1501)
	p.insert(1502)
	p.query("show", "SHOW pgatomic.request")
	outcome("outcome commit", "commit")
	request("request to roll back", "/shop/rollback")
	p.insert(1503)
	outcome("outcome rollback", "rollback")
	p.query("request by set_config", "SELECT set_config('pgatomic.request', $1, false)", "/shop/basket")
	p.insert(1504)
	p.query("outcome by set_config", "SELECT set_config($1, $2, $3)", "pgatomic.outcome", "commit", false)
	request("request that fails", "/shop/fails")
	p.insert(1505)
	p.query("division by zero", "SELECT 1 / 0")
	p.insert(1506)
	outcome("outcome of the failed", "commit")
	request("request with blocks", "/shop/blocks")
	err := block(p, func(tx pgx.Tx) error {
		die(insertAll(1507)(tx))
		die(block(tx, refuseAfter(insertAll(1508))))
		return insertAll(1509)(tx)
	})
	die(err)
	found, err := ids(p, "SELECT id FROM item WHERE id BETWEEN 1507 AND 1509 ORDER BY id")
	report(p, "blocks", found, err)
	outcome("outcome of the blocks", "commit")
	request("request with a deferred failure", "/shop/deferred")
	p.change("insert 1510", "INSERT INTO item (id, owner) VALUES (1510, 99)")
	outcome("outcome of the deferred failure", "commit")
	request("request without outcome", "/shop/forgotten")
	p.insert(1511)
	request("next request", "/shop/next")
	p.insert(1512)
	outcome("outcome of the next", "commit")
	request("last request", "/shop/last")
	p.insert(1513)
}

// crowd: sixteen goroutines share eight connections. A connection that a request leaves without an outcome goes back as it is.
func crowd() {
	config, err := pgxpool.ParseConfig(driverOptions)
	die(err)
	config.MaxConns = 8
	p, err := pgxpool.NewWithConfig(ctx, config)
	die(err)
	defer p.Close()

	numbers := make(chan int)
	served := make(chan int, 200)
	for range 16 {
		go func() {
			for number := range numbers {
				c, err := p.Acquire(ctx)
				die(err)
				serve(c, number)
				c.Release()
				served <- number
			}
		}()
	}
	for number := 2000; number < 2200; number++ {
		numbers <- number
	}
	close(numbers)
	count := 0
	for count < 200 {
		<-served
		count++
	}
	report(nil, "served", count, nil)
}

func serve(c *pgxpool.Conn, number int) {
	must(c, "SELECT set_config('pgatomic.request', $1, false)", "/crowd")
	_, err := insert(c, number)
	die(err)
	must(c, "SELECT pg_notify('crowd', $1)::text", fmt.Sprint(number))
	if number%4 == 2 {
		_, _ = query(c, "SELECT 1 / $1::int", 0)
	}
	if number%4 != 3 {
		outcome := "commit"
		if number%4 == 1 {
			outcome = "rollback"
		}
		_, _ = query(c, "SELECT set_config('pgatomic.outcome', $1, false)", outcome)
	}
}

func isolation(p player) {
	block := func(c *pgx.Conn, options pgx.TxOptions, sql string) (found [][]any, err error) {
		err = pgx.BeginTxFunc(ctx, c, options, func(tx pgx.Tx) error {
			found, err = query(tx, sql)
			return err
		})
		return found, err
	}
	const shown = "SHOW transaction_isolation"

	got, err := block(p.Conn, pgx.TxOptions{IsoLevel: pgx.Serializable}, shown)
	report(p, "serializable", got, err)
	_, err = block(p.Conn, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadOnly}, "INSERT INTO item (id) VALUES (1801)")
	report(p, "read only", nil, err)
	got, err = block(p.Conn, pgx.TxOptions{}, shown)
	report(p, "afterwards", got, err)
	late := connect("")
	must(late, "SELECT 1")
	got, err = block(late, pgx.TxOptions{IsoLevel: pgx.Serializable}, shown)
	report(nil, "too late", got, err)
	die(late.Close(ctx))
}

func forgetful(p player) { p.insert(1601) }

func stringsOfStatements(p player) {
	script := func(step, sql string) {
		_, err := p.PgConn().Exec(ctx, sql).ReadAll()
		report(p, step, nil, err)
	}
	script("good", "INSERT INTO item (id) VALUES (1701); INSERT INTO item (id) VALUES (1702)")
	script("bad", "INSERT INTO item (id) VALUES (1703); SELECT 1 / 0; INSERT INTO item (id) VALUES (1704)")
	p.query("next", "SELECT 1")
	p.change("rollback", "ROLLBACK")
	script("transactions inside", `BEGIN; INSERT INTO item (id) VALUES (1705); COMMIT;
		BEGIN; INSERT INTO item (id) VALUES (1706); ROLLBACK`)
	p.left(17)
}

// play runs a scenario on a connection of its own.
func play(name, options string, body func(player)) {
	scenario = name
	c := connect(options)
	body(player{c})
	die(c.Close(ctx))
}

func main() {
	play("values", "", values)
	play("transaction", "", transaction)
	play("nested", "", nested)
	play("errors", "", errorsInside)
	play("bare_error", "", bareError)
	play("deferred", "", deferred)
	play("copy", "", copyRows)
	play("large", "", large)
	play("cancel", "", cancel)
	play("listen", "", listen)
	play("tasks", "", tasks)
	scenario = "pool"
	pool()
	play("prepared", "", prepared)
	play("pipeline", "", pipeline)
	play("marks", "", marks)
	scenario = "crowd"
	crowd()
	play("isolation", "", isolation)
	play("forgetful", "application_name=forgetful", forgetful)
	play("strings", "", stringsOfStatements)
}
