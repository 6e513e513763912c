// node-postgres: Client with parameters, named statements, cursors, COPY streams, pipelining, notifications, cancel; Pool.
'use strict'

const { Client, Pool } = require('pg')
const Cursor = require('pg-cursor')
const { from: copyFrom, to: copyTo } = require('pg-copy-streams')
const { once } = require('events')
const { Readable } = require('stream')
const { pipeline: stream } = require('stream/promises')
const { LARGE_TEXT, Report, md5, portions, sum } = require('./report')

/** An error is told before the ReadyForQuery that follows it has come in. */
const report = new Report(async (client) => {
  if (!client.readyForQuery) await once(client.connection, 'readyForQuery')
  return client.getTransactionStatus()
})
const step = report.step.bind(report)

async function connect(options = {}) {
  const client = new Client(options)
  await client.connect()
  return client
}

const query = async (c, text, ...values) => (await c.query({ text, values, rowMode: 'array' })).rows
const change = async (c, text, ...values) => (await c.query({ text, values })).rowCount
const script = async (c, text) => void (await c.query(text))
const insert = (c, id) => change(c, 'INSERT INTO item (id) VALUES ($1)', id)
const column = (rows) => rows.map((row) => row[0])
const left = async (c, hundred) => column(await query(c, 'SELECT id FROM item WHERE id / 100 = $1 ORDER BY id', hundred))

async function values() {
  const c = await connect()
  await step('literals', () => query(c, "SELECT 42, 'Grüße', NULL, true"), c)
  await step('parameters', () => query(c, "SELECT $1::int + 1, $2::text || '!', encode($3::bytea, 'hex')",
    7, 'é', Buffer.from([0, 255, 16])), c)
  await step('arrays and numerics', () => query(c, 'SELECT ARRAY[1, 2, 3], 1.50::numeric'), c)
  await step('no rows', () => query(c, 'SELECT 1 WHERE false'), c)
  await step('many rows', async () => {
    const found = column(await query(c, 'SELECT generate_series(1, 10000)'))
    return [found.length, sum(found)]
  }, c)
  await c.end()
}

async function transaction() {
  const c = await connect()
  await c.query('BEGIN')
  await step('insert 201', () => insert(c, 201), c)
  await step('commit', () => change(c, 'COMMIT'), c)
  await c.query('BEGIN')
  await step('insert 202', () => insert(c, 202), c)
  await step('rollback', () => change(c, 'ROLLBACK'), c)
  await step('left', () => left(c, 2), c)
  await c.end()
}

/** node-postgres has no nested blocks; this is what programs write. */
async function block(c, body, depth = 0) {
  await c.query(depth ? `SAVEPOINT s${depth}` : 'BEGIN')
  try {
    await body()
    await c.query(depth ? `RELEASE SAVEPOINT s${depth}` : 'COMMIT')
  } catch (e) {
    await c.query(depth ? `ROLLBACK TO SAVEPOINT s${depth}` : 'ROLLBACK')
    throw e
  }
}

const REFUSED = new Error('refused')
const forgive = (e) => {
  if (e !== REFUSED) throw e
}

async function nested() {
  const c = await connect()

  const failing = (id, depth) => block(c, async () => {
    await insert(c, id)
    throw REFUSED
  }, depth).catch(forgive)

  const descend = (depth) => block(c, async () => {
    await insert(c, 306 + depth)
    if (depth < 4) await descend(depth + 1).catch(forgive)
    if (depth === 2) throw REFUSED
  }, depth)

  await step('inner fails, outer commits', async () => {
    await block(c, async () => {
      await insert(c, 301)
      await failing(302, 1)
      await block(c, () => insert(c, 303), 1)
    })
    return left(c, 3)
  }, c)
  await step('inner commits, outer fails', async () => {
    await block(c, async () => {
      await insert(c, 304)
      await block(c, () => insert(c, 305), 1)
      throw REFUSED
    }).catch(forgive)
    return left(c, 3)
  }, c)
  await step('the third of five fails', async () => {
    await descend(0)
    return left(c, 3)
  }, c)
  await step('a duplicate in the inner block', async () => {
    let failure
    await block(c, async () => {
      await insert(c, 311)
      await block(c, () => insert(c, 311), 1).catch((e) => { failure = e })
      await insert(c, 312)
    })
    throw failure
  }, c)
  await step('left', () => left(c, 3), c)
  await c.end()
}

async function errors() {
  const c = await connect()
  await c.query('BEGIN')
  await step('division by zero', () => query(c, 'SELECT 1 / $1::int', 0), c)
  await step('after it', () => query(c, 'SELECT 1'), c)
  await step('rollback', () => change(c, 'ROLLBACK'), c)
  await c.query('BEGIN')
  await step('insert 401', () => insert(c, 401), c)
  await c.query('SAVEPOINT before')
  await step('duplicate', () => insert(c, 401), c)
  await step('rollback to savepoint', () => change(c, 'ROLLBACK TO before'), c)
  await step('insert 402', () => insert(c, 402), c)
  await c.query('SAVEPOINT before')
  await step('syntax', () => query(c, 'SELECT 1 FRM item'), c)
  await step('rollback to savepoint again', () => change(c, 'ROLLBACK TO before'), c)
  await step('no such table', () => query(c, 'SELECT * FROM missing'), c)
  await step('rollback to savepoint at last', () => change(c, 'ROLLBACK TO before'), c)
  await step('commit', () => change(c, 'COMMIT'), c)
  await c.query('BEGIN')
  await step('insert 403', () => insert(c, 403), c)
  await step('division by zero again', () => query(c, 'SELECT 1 / 0'), c)
  await step('commit of a failed transaction', async () => (await c.query('COMMIT')).command, c)
  await step('left', () => left(c, 4), c)
  await c.end()
}

async function bare_error() {
  const c = await connect()
  await step('insert 501', () => insert(c, 501), c)
  await step('division by zero', () => query(c, 'SELECT 1 / $1::int', 0), c)
  await step('next', () => query(c, 'SELECT 1'), c)
  await step('rollback', () => change(c, 'ROLLBACK'), c)
  await step('insert 502', () => insert(c, 502), c)
  await step('left', () => left(c, 5), c)
  await c.end()
}

async function deferred() {
  const c = await connect()
  await c.query('BEGIN')
  await step('insert 601', () => change(c, 'INSERT INTO item (id, owner) VALUES (601, 99)'), c)
  await step('commit', () => change(c, 'COMMIT'), c)
  await c.end()
}

async function copy() {
  const c = await connect()

  const copyIn = async (lines) => {
    const into = c.query(copyFrom('COPY bulk (id, body) FROM STDIN'))
    await stream(Readable.from(lines), into)
    return into.rowCount
  }
  const copyOut = async () => {
    let text = ''
    for await (const chunk of c.query(copyTo('COPY bulk (id, body) TO STDOUT'))) text += chunk
    const ids = text.trim().split('\n').map((line) => Number(line.split('\t')[0]))
    return [ids.length, sum(ids)]
  }

  await step('in', () => copyIn(Array.from({ length: 1000 }, (_, i) => `${i}\trow ${i}\n`)), c)
  await step('out', copyOut, c)
  await c.query('BEGIN')
  await step('bad data', () => copyIn(['5000\tgood\n', 'not a number\tbad\n']), c)
  await step('rollback', () => change(c, 'ROLLBACK'), c)
  await step('left', async () => (await query(c, 'SELECT count(*)::int FROM bulk')), c)
  await c.end()
}

async function large() {
  const c = await connect()
  await step('there and back', async () => {
    const [[text]] = await query(c, 'SELECT $1::text', LARGE_TEXT)
    return [text.length, md5(text)]
  }, c)
  await step('stored', async () => {
    await change(c, 'INSERT INTO bulk (id, body) VALUES (800000, $1)', LARGE_TEXT)
    return query(c, 'SELECT length(body), md5(body) FROM bulk WHERE id = 800000')
  }, c)
  await c.end()
}

async function cancel() {
  const c = await connect()
  const watch = await connect()
  await c.query('BEGIN')
  await step('sleep', async () => {
    const sleeping = new (require('pg').Query)('SELECT pg_sleep(60)')
    const ended = once(sleeping, 'end') // rejects when the query emits its error
    c.query(sleeping)
    while ((await query(watch, `SELECT 1 FROM pg_stat_activity WHERE datname = current_database()
      AND wait_event = 'PgSleep'`)).length === 0) await watch.query('SELECT pg_stat_clear_snapshot()')
    new Client().cancel(c, sleeping)
    await ended
  }, c)
  await step('rollback', () => change(c, 'ROLLBACK'), c)
  await step('usable', () => query(c, 'SELECT 1'), c)
  await watch.end()
  await c.end()
}

async function cursor() {
  const c = await connect()
  await step('portions', async () => {
    await c.query('BEGIN')
    const rows = c.query(new Cursor('SELECT generate_series(1, 1000)', [], { rowMode: 'array' }))
    const found = []
    for (let some; (some = await rows.read(100)).length;) found.push(column(some))
    await rows.close()
    await c.query('COMMIT')
    return portions(found)
  }, c)
  await c.end()
}

async function listen() {
  const c = await connect()
  const speaker = await connect()
  const heard = []
  const first = once(c, 'notification')
  c.on('notification', (n) => heard.push([n.channel, n.payload]))
  await step('listen', () => change(c, 'LISTEN news'), c)
  await speaker.query("NOTIFY news, 'hello'")
  await c.query('SHOW timezone') // opens no request, in which nothing could be heard
  await step('heard at once', () => heard, c)
  await speaker.end()
  await step('heard after the end', async () => {
    await first
    return heard
  }, c)
  await step('unlisten', () => change(c, 'UNLISTEN news'), c)
  await step('heard at last', () => heard, c)
  await c.end()
}

async function tasks() {
  const c = await connect()
  const notify = (payload) => query(c, 'SELECT pg_notify($1, $2)', 'tasks', payload)
  await step('NOTIFY', () => change(c, "NOTIFY tasks, 'notify'"), c)
  await step('pg_notify', () => notify('function'), c)
  await block(c, () => step('committed', () => notify('committed'), c))
  await block(c, async () => {
    await step('rolled back', () => notify('rolled back'), c)
    throw REFUSED
  }).catch(forgive)
  await block(c, async () => {
    await block(c, async () => {
      await step('undone by a savepoint', () => notify('undone'), c)
      throw REFUSED
    }, 1).catch(forgive)
    await step('kept by it', () => notify('kept'), c)
  })
  await c.query('BEGIN')
  await step('bad channel', () => query(c, 'SELECT pg_notify($1, $2)', '', 'x'), c)
  await step('rollback', () => change(c, 'ROLLBACK'), c)
  await step('NOTIFY without payload', () => change(c, 'NOTIFY tasks'), c)
  await c.end()
}

/** The pool sends nothing of its own: a transaction left open stays open until the program ends it. */
async function pool() {
  const p = new Pool({ max: 1 })

  const use = async (label, body, outcome = 'commit') => {
    const c = await p.connect()
    await c.query("SELECT set_config('pgatomic.request', $1, false)", [label])
    const done = await body(c)
    if (outcome) await c.query("SELECT set_config('pgatomic.outcome', $1, false)", [outcome])
    c.release()
    return done
  }

  await step('first use', () => use('/pool/first', (c) => insert(c, 1201)))
  await step('left open', () => use('/pool/open', async (c) => {
    await c.query('BEGIN')
    return insert(c, 1202)
  }, null))
  await p.query('ROLLBACK')
  await step('next use', () => use('/pool/next', (c) => left(c, 12)))
  await step('marked', () => use('/pool/marked', (c) => insert(c, 1203)))
  await step('marked, no outcome', () => use('/pool/forgotten', (c) => insert(c, 1204), null))
  await step('next mark', () => use('/pool/last', (c) => insert(c, 1205)))
  await p.end()
}

async function prepared() {
  const c = await connect()
  const run = async (name, text, value) => (await c.query({ name, text, values: [value], rowMode: 'array' })).rows[0][0]
  await step('often', async () => {
    const found = []
    for (let i = 1; i <= 100; i++) found.push(await run('identity', 'SELECT $1::int', i))
    return [found.length, sum(found)]
  }, c)
  await c.query('BEGIN')
  await run('division', 'SELECT 100 / $1::int', 10)
  await step('fails', () => run('division', 'SELECT 100 / $1::int', 0), c)
  await step('rollback', () => change(c, 'ROLLBACK'), c)
  await step('again', async () => [[await run('division', 'SELECT 100 / $1::int', 20)]], c)
  await c.end()
}

/** In its pipeline mode queries leave without waiting, each with a Sync of its own. */
async function burst() {
  const c = await connect({ pipeline: true })
  const outcome = (promise) => promise.catch((e) => e.code)
  const together = (...queries) => Promise.all(queries.map(([text, ...values]) => outcome(change(c, text, ...values))))
  const insertion = 'INSERT INTO item (id) VALUES ($1)'
  await step('good', () => together([insertion, 1901], [insertion, 1902]), c)
  await step('bad', () => together([insertion, 1903], ['SELECT 1 / $1::int', 0], [insertion, 1904]), c)
  await step('next', () => query(c, 'SELECT 1'), c)
  await step('rollback', () => change(c, 'ROLLBACK'), c)
  await step('insert 1905', () => insert(c, 1905), c)
  await step('left', () => left(c, 19), c)
  await c.end()
}

async function marks() {
  const c = await connect()
  const request = (name, label) => step(name, () => change(c, `SET pgatomic.request = '${label}'`), c)
  const outcome = (name, how) => step(name, () => change(c, `SET pgatomic.outcome = '${how}'`), c)
  const insertion = (id) => step(`insert ${id}`, () => insert(c, id), c)

  await request('request', '/shop/checkout')
  await insertion(1501)
  await insertion(1502)
  await step('show', () => query(c, 'SHOW pgatomic.request'), c)
  await outcome('outcome commit', 'commit')
  await request('request to roll back', '/shop/rollback')
  await insertion(1503)
  await outcome('outcome rollback', 'rollback')
  await step('request by set_config', () => query(c, "SELECT set_config('pgatomic.request', $1, false)", '/shop/basket'), c)
  await insertion(1504)
  await step('outcome by set_config', () => query(c, 'SELECT set_config($1, $2, $3)', 'pgatomic.outcome', 'commit', false), c)
  await request('request that fails', '/shop/fails')
  await insertion(1505)
  await step('division by zero', () => query(c, 'SELECT 1 / 0'), c)
  await insertion(1506)
  await outcome('outcome of the failed', 'commit')
  await request('request with blocks', '/shop/blocks')
  await step('blocks', async () => {
    await block(c, async () => {
      await insert(c, 1507)
      await block(c, async () => {
        await insert(c, 1508)
        throw REFUSED
      }, 1).catch(forgive)
      await insert(c, 1509)
    })
    return column(await query(c, 'SELECT id FROM item WHERE id BETWEEN 1507 AND 1509 ORDER BY id'))
  }, c)
  await outcome('outcome of the blocks', 'commit')
  await request('request with a deferred failure', '/shop/deferred')
  await step('insert 1510', () => change(c, 'INSERT INTO item (id, owner) VALUES (1510, 99)'), c)
  await outcome('outcome of the deferred failure', 'commit')
  await request('request without outcome', '/shop/forgotten')
  await insertion(1511)
  await request('next request', '/shop/next')
  await insertion(1512)
  await outcome('outcome of the next', 'commit')
  await request('last request', '/shop/last')
  await insertion(1513)
  await c.end()
}

async function forgetful() {
  const c = await connect({ application_name: 'forgetful' })
  await step('insert 1601', () => insert(c, 1601), c)
  await c.end()
}

async function strings() {
  const c = await connect()
  await step('good', () => script(c, 'INSERT INTO item (id) VALUES (1701); INSERT INTO item (id) VALUES (1702)'), c)
  await step('bad', () => script(c, 'INSERT INTO item (id) VALUES (1703); SELECT 1 / 0; INSERT INTO item (id) VALUES (1704)'), c)
  await step('next', () => query(c, 'SELECT 1'), c)
  await step('rollback', () => change(c, 'ROLLBACK'), c)
  await step('transactions inside', () => script(c, `BEGIN; INSERT INTO item (id) VALUES (1705); COMMIT;
    BEGIN; INSERT INTO item (id) VALUES (1706); ROLLBACK`), c)
  await step('left', () => left(c, 17), c)
  await c.end()
}

report.play([values, transaction, nested, errors, bare_error, deferred, copy, large, cancel, cursor, listen, tasks, pool, prepared, burst,
  marks, forgetful, strings])
