//! tokio-postgres: nested transactions, prepared statements, portals, queries in flight together, COPY, notifications, cancel;
//! deadpool's pool.

mod report;

use bytes::Bytes;
use deadpool_postgres::{ManagerConfig, Pool, RecyclingMethod, Runtime};
use futures_util::future::join_all;
use futures_util::{pin_mut, stream, SinkExt, StreamExt, TryStreamExt};
use report::{scenario, step};
use serde_json::{json, Value};
use std::env;
use tokio::sync::mpsc::{unbounded_channel, UnboundedReceiver};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Config, Error, GenericClient, NoTls, Row, Transaction};

type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];
type Outcome = Result<Value, Error>;

const INSERT: &str = "INSERT INTO item (id) VALUES ($1)";

fn config() -> Config {
    let mut config = Config::new();
    let variable = |name| env::var(name).unwrap();
    config.host(variable("PGHOST")).port(variable("PGPORT").parse().unwrap());
    config.user(variable("PGUSER")).password(variable("PGPASSWORD")).dbname(variable("PGDATABASE"));
    config
}

/// A client, and a channel with the notifications that reach it.
async fn connect(config: &Config) -> (Client, UnboundedReceiver<Value>) {
    let (client, mut connection) = config.connect(NoTls).await.unwrap();
    let (hear, heard) = unbounded_channel();
    tokio::spawn(async move {
        let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
        while let Some(Ok(message)) = messages.next().await {
            if let AsyncMessage::Notification(n) = message {
                let _ = hear.send(json!([n.channel(), n.payload()]));
            }
        }
    });
    (client, heard)
}

fn value(row: &Row, i: usize) -> Value {
    match *row.columns()[i].type_() {
        Type::INT4 => json!(row.get::<_, Option<i32>>(i)),
        Type::INT8 => json!(row.get::<_, Option<i64>>(i)),
        Type::BOOL => json!(row.get::<_, Option<bool>>(i)),
        Type::INT4_ARRAY => json!(row.get::<_, Option<Vec<i32>>>(i)),
        _ => json!(row.get::<_, Option<String>>(i)),
    }
}

async fn query(c: &impl GenericClient, sql: &str, parameters: Parameters<'_>) -> Outcome {
    let rows = c.query(sql, parameters).await?;
    Ok(rows.iter().map(|row| (0..row.len()).map(|i| value(row, i)).collect::<Value>()).collect())
}

/// The first column, of integers.
async fn column(c: &impl GenericClient, sql: &str, parameters: Parameters<'_>) -> Result<Vec<i32>, Error> {
    Ok(c.query(sql, parameters).await?.iter().map(|row| row.get(0)).collect())
}

async fn change(c: &impl GenericClient, sql: &str) -> Outcome {
    Ok(json!(c.execute(sql, &[]).await?))
}

/// One or more statements, in the simple protocol.
async fn script(c: &impl GenericClient, sql: &str) -> Outcome {
    c.batch_execute(sql).await?;
    Ok(Value::Null)
}

async fn insert(c: &impl GenericClient, id: i32) -> Outcome {
    Ok(json!(c.execute(INSERT, &[&id]).await?))
}

async fn left(c: &impl GenericClient, hundred: i32) -> Outcome {
    Ok(json!(column(c, "SELECT id FROM item WHERE id / 100 = $1 ORDER BY id", &[&hundred]).await?))
}

fn nothing(done: Result<(), Error>) -> Outcome {
    done.map(|()| Value::Null)
}

fn large_text() -> String {
    "pgatomic".repeat(20 * 1024 * 1024 / 8)
}

async fn values(c: &Client) {
    step("literals", query(c, "SELECT 42, 'Grüße', NULL, true", &[]).await);
    let bytes: &[u8] = &[0, 255, 16];
    step("parameters", query(c, "SELECT $1::int + 1, $2::text || '!', encode($3::bytea, 'hex')", &[&7, &"é", &bytes]).await);
    step("arrays and numerics", query(c, "SELECT ARRAY[1, 2, 3], (1.50::numeric)::text", &[]).await);
    step("no rows", query(c, "SELECT 1 WHERE false", &[]).await);
    let found = column(c, "SELECT generate_series(1, 10000)", &[]).await;
    step("many rows", found.map(|ids| json!([ids.len(), ids.iter().sum::<i32>()])));
}

async fn transaction(c: &mut Client) {
    let t = c.transaction().await.unwrap();
    step("insert 201", insert(&t, 201).await);
    step("commit", nothing(t.commit().await));
    let t = c.transaction().await.unwrap();
    step("insert 202", insert(&t, 202).await);
    step("rollback", nothing(t.rollback().await));
    step("left", left(c, 2).await);
}

/// Five transactions in each other; the third is dropped after the two in it have been committed.
async fn descend(outer: &mut Transaction<'_>, depth: i32) -> Result<(), Error> {
    let mut t = outer.transaction().await?;
    insert(&t, 305 + depth).await?;
    if depth < 5 {
        Box::pin(descend(&mut t, depth + 1)).await?;
    }
    if depth == 3 {
        return t.rollback().await;
    }
    t.commit().await
}

async fn nested(c: &mut Client) {
    async fn inner_fails(c: &mut Client) -> Outcome {
        let mut t = c.transaction().await?;
        insert(&t, 301).await?;
        let inner = t.transaction().await?;
        insert(&inner, 302).await?;
        drop(inner);
        let inner = t.transaction().await?;
        insert(&inner, 303).await?;
        inner.commit().await?;
        t.commit().await?;
        left(c, 3).await
    }
    async fn outer_fails(c: &mut Client) -> Outcome {
        let mut t = c.transaction().await?;
        insert(&t, 304).await?;
        let inner = t.transaction().await?;
        insert(&inner, 305).await?;
        inner.commit().await?;
        drop(t);
        left(c, 3).await
    }
    async fn five_deep(c: &mut Client) -> Outcome {
        let mut t = c.transaction().await?;
        insert(&t, 306).await?;
        descend(&mut t, 2).await?;
        t.commit().await?;
        left(c, 3).await
    }
    async fn duplicate(c: &mut Client) -> Outcome {
        let mut t = c.transaction().await?;
        insert(&t, 311).await?;
        let inner = t.transaction().await?;
        let failure = insert(&inner, 311).await;
        drop(inner);
        insert(&t, 312).await?;
        t.commit().await?;
        failure
    }
    step("inner fails, outer commits", inner_fails(c).await);
    step("inner commits, outer fails", outer_fails(c).await);
    step("the third of five fails", five_deep(c).await);
    step("a duplicate in the inner block", duplicate(c).await);
    step("left", left(c, 3).await);
}

async fn errors(c: &mut Client) {
    script(c, "BEGIN").await.unwrap();
    step("division by zero", query(c, "SELECT 1 / $1::int", &[&0]).await);
    step("after it", query(c, "SELECT 1", &[]).await);
    step("rollback", script(c, "ROLLBACK").await);
    script(c, "BEGIN").await.unwrap();
    step("insert 401", insert(c, 401).await);
    script(c, "SAVEPOINT before").await.unwrap();
    step("duplicate", insert(c, 401).await);
    step("rollback to savepoint", script(c, "ROLLBACK TO before").await);
    step("insert 402", insert(c, 402).await);
    script(c, "SAVEPOINT before").await.unwrap();
    step("syntax", query(c, "SELECT 1 FRM item", &[]).await);
    step("rollback to savepoint again", script(c, "ROLLBACK TO before").await);
    step("no such table", query(c, "SELECT * FROM missing", &[]).await);
    step("rollback to savepoint at last", script(c, "ROLLBACK TO before").await);
    step("commit", script(c, "COMMIT").await);
    let t = c.transaction().await.unwrap();
    step("insert 403", insert(&t, 403).await);
    step("division by zero again", query(&t, "SELECT 1 / 0", &[]).await);
    step("commit of a failed transaction", nothing(t.commit().await));
    step("left", left(c, 4).await);
}

async fn bare_error(c: &Client) {
    step("insert 501", insert(c, 501).await);
    step("division by zero", query(c, "SELECT 1 / $1::int", &[&0]).await);
    step("next", query(c, "SELECT 1", &[]).await);
    step("rollback", script(c, "ROLLBACK").await);
    step("insert 502", insert(c, 502).await);
    step("left", left(c, 5).await);
}

async fn deferred(c: &mut Client) {
    let t = c.transaction().await.unwrap();
    step("insert 601", change(&t, "INSERT INTO item (id, owner) VALUES (601, 99)").await);
    step("commit", nothing(t.commit().await));
}

async fn copy(c: &Client) {
    async fn copy_in(c: &Client, lines: Vec<String>) -> Outcome {
        let sink = c.copy_in("COPY bulk (id, body) FROM STDIN").await?;
        pin_mut!(sink);
        for line in lines {
            sink.send(Bytes::from(line)).await?;
        }
        Ok(json!(sink.finish().await?))
    }
    async fn copy_out(c: &Client) -> Outcome {
        let chunks: Vec<Bytes> = c.copy_out("COPY bulk (id, body) TO STDOUT").await?.try_collect().await?;
        let text = String::from_utf8(chunks.concat()).unwrap();
        let ids: Vec<i32> = text.lines().map(|line| line.split('\t').next().unwrap().parse().unwrap()).collect();
        Ok(json!([ids.len(), ids.iter().sum::<i32>()]))
    }
    step("in", copy_in(c, (0..1000).map(|i| format!("{i}\trow {i}\n")).collect()).await);
    step("out", copy_out(c).await);
    script(c, "BEGIN").await.unwrap();
    step("bad data", copy_in(c, vec!["5000\tgood\n".into(), "not a number\tbad\n".into()]).await);
    step("rollback", script(c, "ROLLBACK").await);
    step("left", query(c, "SELECT count(*) FROM bulk", &[]).await);
}

async fn large(c: &Client) {
    let text = large_text();
    let back = c.query_one("SELECT $1::text", &[&text]).await.map(|row| row.get::<_, String>(0));
    step("there and back", back.map(|text| json!([text.len(), format!("{:x}", md5::compute(text))])));
    c.execute("INSERT INTO bulk (id, body) VALUES (800000, $1)", &[&text]).await.unwrap();
    step("stored", query(c, "SELECT length(body), md5(body) FROM bulk WHERE id = 800000", &[]).await);
}

async fn cancel(c: &Client) {
    const SLEEPS: &str = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() \
                          AND wait_event = 'PgSleep'";
    script(c, "BEGIN").await.unwrap();
    let token = c.cancel_token();
    let canceller = tokio::spawn(async move {
        let (watch, _) = connect(&config()).await;
        while column(&watch, SLEEPS, &[]).await.unwrap().is_empty() {
            script(&watch, "SELECT pg_stat_clear_snapshot()").await.unwrap();
        }
        token.cancel_query(NoTls).await.unwrap();
    });
    step("sleep", script(c, "SELECT pg_sleep(60)").await);
    canceller.await.unwrap();
    step("rollback", script(c, "ROLLBACK").await);
    step("usable", query(c, "SELECT 1", &[]).await);
}

async fn cursor(c: &mut Client) {
    async fn in_portions(c: &mut Client) -> Outcome {
        let t = c.transaction().await?;
        let portal = t.bind("SELECT generate_series(1, 1000)", &[]).await?;
        let mut portions: Vec<Vec<i32>> = vec![];
        loop {
            let rows = t.query_portal(&portal, 100).await?;
            if rows.is_empty() {
                break;
            }
            portions.push(rows.iter().map(|row| row.get(0)).collect());
        }
        t.commit().await?;
        Ok(json!([portions.len(), portions.concat().len(), portions.concat().iter().sum::<i32>()]))
    }
    step("portions", in_portions(c).await);
}

async fn listen(c: &Client, mut notifications: UnboundedReceiver<Value>) {
    let mut heard: Vec<Value> = vec![];
    let (speaker, _) = connect(&config()).await;
    step("listen", script(c, "LISTEN news").await);
    script(&speaker, "NOTIFY news, 'hello'").await.unwrap();
    script(c, "SHOW timezone").await.unwrap(); // opens no request, in which nothing could be heard
    heard.extend(std::iter::from_fn(|| notifications.try_recv().ok()));
    step("heard at once", Ok(json!(heard)));
    drop(speaker);
    if heard.is_empty() {
        heard.extend(notifications.recv().await);
    }
    step("heard after the end", Ok(json!(heard)));
    step("unlisten", script(c, "UNLISTEN news").await);
    heard.extend(std::iter::from_fn(|| notifications.try_recv().ok()));
    step("heard at last", Ok(json!(heard)));
}

async fn tasks(c: &mut Client) {
    async fn notify(c: &impl GenericClient, channel: &str, payload: &str) -> Outcome {
        query(c, "SELECT pg_notify($1, $2)::text", &[&channel, &payload]).await
    }
    step("NOTIFY", script(c, "NOTIFY tasks, 'notify'").await);
    step("pg_notify", notify(c, "tasks", "function").await);
    let t = c.transaction().await.unwrap();
    step("committed", notify(&t, "tasks", "committed").await);
    t.commit().await.unwrap();
    let t = c.transaction().await.unwrap();
    step("rolled back", notify(&t, "tasks", "rolled back").await);
    drop(t);
    let mut t = c.transaction().await.unwrap();
    let inner = t.transaction().await.unwrap();
    step("undone by a savepoint", notify(&inner, "tasks", "undone").await);
    drop(inner);
    step("kept by it", notify(&t, "tasks", "kept").await);
    t.commit().await.unwrap();
    script(c, "BEGIN").await.unwrap();
    step("bad channel", notify(c, "", "x").await);
    step("rollback", script(c, "ROLLBACK").await);
    step("NOTIFY without payload", script(c, "NOTIFY tasks").await);
}

/// With `Clean` the pool resets a connection as DISCARD ALL would, piece by piece, before it lends it again.
async fn pool() {
    async fn begin_request(c: &impl GenericClient, label: &str) {
        query(c, "SELECT set_config('pgatomic.request', $1, false)", &[&label]).await.unwrap();
    }
    async fn end_request(c: &impl GenericClient) {
        query(c, "SELECT set_config('pgatomic.outcome', 'commit', false)", &[]).await.unwrap();
    }
    async fn marked(p: &Pool, label: &str, id: i32) -> Outcome {
        let c = p.get().await.unwrap();
        begin_request(&**c, label).await;
        let done = insert(&**c, id).await;
        end_request(&**c).await;
        done
    }

    let manager = ManagerConfig { recycling_method: RecyclingMethod::Clean };
    let manager = deadpool_postgres::Manager::from_config(config(), NoTls, manager);
    let p = Pool::builder(manager).max_size(1).runtime(Runtime::Tokio1).build().unwrap();
    step("first use", marked(&p, "/pool/first", 1201).await);
    {
        let mut c = p.get().await.unwrap();
        begin_request(&**c, "/pool/open").await;
        let t = c.transaction().await.unwrap();
        step("left open", Ok(json!(t.execute(INSERT, &[&1202]).await.unwrap())));
    }
    {
        let c = p.get().await.unwrap();
        begin_request(&**c, "/pool/next").await;
        step("next use", left(&**c, 12).await);
        end_request(&**c).await;
    }
    step("marked", marked(&p, "/pool/marked", 1203).await);
    {
        let c = p.get().await.unwrap();
        begin_request(&**c, "/pool/forgotten").await;
        step("marked, no outcome", insert(&**c, 1204).await);
    }
    step("next mark", marked(&p, "/pool/last", 1205).await);
}

async fn prepared(c: &Client) {
    let identity = c.prepare("SELECT $1::int").await.unwrap();
    let mut found: Vec<i32> = vec![];
    for i in 1..=100 {
        found.push(c.query_one(&identity, &[&i]).await.unwrap().get(0));
    }
    step("often", Ok(json!([found.len(), found.iter().sum::<i32>()])));
    script(c, "BEGIN").await.unwrap();
    let division = c.prepare("SELECT 100 / $1::int").await.unwrap();
    c.query(&division, &[&10]).await.unwrap();
    step("fails", c.query(&division, &[&0]).await.map(|_| Value::Null));
    step("rollback", script(c, "ROLLBACK").await);
    let again = c.query_one(&division, &[&20]).await.map(|row| row.get::<_, i32>(0));
    step("again", again.map(|n| json!([[n]])));
}

/// Executions in flight together, each with a Sync of its own.
async fn burst(c: &Client) {
    let insertion = c.prepare(INSERT).await.unwrap();
    let division = c.prepare("SELECT 1 / $1::int").await.unwrap();
    let together = |statements: Vec<(tokio_postgres::Statement, i32)>| async move {
        let executions = statements.iter().map(|(statement, n)| async move {
            match c.execute(statement, &[n]).await {
                Ok(affected) => json!(affected),
                Err(e) => json!(e.code().unwrap().code()),
            }
        });
        json!(join_all(executions).await)
    };
    step("good", Ok(together(vec![(insertion.clone(), 1901), (insertion.clone(), 1902)]).await));
    step("bad", Ok(together(vec![(insertion.clone(), 1903), (division, 0), (insertion, 1904)]).await));
    step("next", query(c, "SELECT 1", &[]).await);
    step("rollback", script(c, "ROLLBACK").await);
    step("insert 1905", insert(c, 1905).await);
    step("left", left(c, 19).await);
}

async fn marks(c: &mut Client) {
    async fn request(c: &Client, name: &str, label: &str) {
        step(name, script(c, &format!("SET pgatomic.request = '{label}'")).await);
    }
    async fn outcome(c: &Client, name: &str, how: &str) {
        step(name, script(c, &format!("SET pgatomic.outcome = '{how}'")).await);
    }
    async fn insertion(c: &Client, id: i32) {
        step(&format!("insert {id}"), insert(c, id).await);
    }
    async fn blocks(c: &mut Client) -> Outcome {
        let mut t = c.transaction().await?;
        insert(&t, 1507).await?;
        let inner = t.transaction().await?;
        insert(&inner, 1508).await?;
        drop(inner);
        insert(&t, 1509).await?;
        t.commit().await?;
        Ok(json!(column(c, "SELECT id FROM item WHERE id BETWEEN 1507 AND 1509 ORDER BY id", &[]).await?))
    }

    request(c, "request", "/shop/checkout").await;
    insertion(c, 1501).await;
    insertion(c, 1502).await;
    step("show", query(c, "SHOW pgatomic.request", &[]).await);
    outcome(c, "outcome commit", "commit").await;
    request(c, "request to roll back", "/shop/rollback").await;
    insertion(c, 1503).await;
    outcome(c, "outcome rollback", "rollback").await;
    step("request by set_config", query(c, "SELECT set_config('pgatomic.request', $1, false)", &[&"/shop/basket"]).await);
    insertion(c, 1504).await;
    step("outcome by set_config", query(c, "SELECT set_config($1, $2, $3)", &[&"pgatomic.outcome", &"commit", &false]).await);
    request(c, "request that fails", "/shop/fails").await;
    insertion(c, 1505).await;
    step("division by zero", query(c, "SELECT 1 / 0", &[]).await);
    insertion(c, 1506).await;
    outcome(c, "outcome of the failed", "commit").await;
    request(c, "request with blocks", "/shop/blocks").await;
    step("blocks", blocks(c).await);
    outcome(c, "outcome of the blocks", "commit").await;
    request(c, "request with a deferred failure", "/shop/deferred").await;
    step("insert 1510", change(c, "INSERT INTO item (id, owner) VALUES (1510, 99)").await);
    outcome(c, "outcome of the deferred failure", "commit").await;
    request(c, "request without outcome", "/shop/forgotten").await;
    insertion(c, 1511).await;
    request(c, "next request", "/shop/next").await;
    insertion(c, 1512).await;
    outcome(c, "outcome of the next", "commit").await;
    request(c, "last request", "/shop/last").await;
    insertion(c, 1513).await;
}

async fn strings(c: &Client) {
    step("good", script(c, "INSERT INTO item (id) VALUES (1701); INSERT INTO item (id) VALUES (1702)").await);
    step("bad", script(c, "INSERT INTO item (id) VALUES (1703); SELECT 1 / 0; INSERT INTO item (id) VALUES (1704)").await);
    step("next", query(c, "SELECT 1", &[]).await);
    step("rollback", script(c, "ROLLBACK").await);
    let inside = "BEGIN; INSERT INTO item (id) VALUES (1705); COMMIT; BEGIN; INSERT INTO item (id) VALUES (1706); ROLLBACK";
    step("transactions inside", script(c, inside).await);
    step("left", left(c, 17).await);
}

/// Plays a scenario on a client of its own, which is gone, with its Terminate, when the scenario is over.
macro_rules! play {
    ($name:ident, $body:expr) => {{
        scenario(stringify!($name));
        #[allow(unused_mut)]
        let (mut client, notifications) = connect(&config()).await;
        #[allow(clippy::redundant_closure_call)]
        $body(&mut client).await;
        drop(client);
        ended(notifications).await;
    }};
}

/// The connection's task ends once Terminate is written; its channel closes then.
async fn ended(mut notifications: UnboundedReceiver<Value>) {
    while notifications.recv().await.is_some() {}
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    play!(values, |c| values(c));
    play!(transaction, |c| transaction(c));
    play!(nested, |c| nested(c));
    play!(errors, |c| errors(c));
    play!(bare_error, |c| bare_error(c));
    play!(deferred, |c| deferred(c));
    play!(copy, |c| copy(c));
    play!(large, |c| large(c));
    play!(cancel, |c| cancel(c));
    play!(cursor, |c| cursor(c));
    scenario("listen");
    let (listener, notifications) = connect(&config()).await;
    listen(&listener, notifications).await;
    drop(listener);
    play!(tasks, |c| tasks(c));
    scenario("pool");
    pool().await;
    play!(prepared, |c| prepared(c));
    play!(burst, |c| burst(c));
    play!(marks, |c| marks(c));
    scenario("forgetful");
    let (client, notifications) = connect(config().application_name("forgetful")).await;
    step("insert 1601", insert(&client, 1601).await);
    drop(client);
    ended(notifications).await;
    play!(strings, |c| strings(c));
}
