// postgres.js: a pool by nature; sql.begin() and savepoint(), reserve(), prepared by itself, cursors, COPY streams, listen(), cancel().
'use strict'

const postgres = require('postgres')
const { Readable } = require('stream')
const { pipeline: stream } = require('stream/promises')
const { LARGE_TEXT, Report, md5, portions, sum } = require('./report')

const report = new Report(null) // postgres.js does not show the transaction status
const step = report.step.bind(report)

const connect = (options = {}) => postgres({
  host: process.env.PGHOST, port: Number(process.env.PGPORT), user: process.env.PGUSER, password: process.env.PGPASSWORD,
  database: process.env.PGDATABASE, max: 1, onnotice: () => {}, ...options,
})

/** One connection of its own for `body`. */
async function reserved(body, options) {
  const sql = connect(options)
  const c = await sql.reserve()
  await body(c)
  c.release()
  await sql.end()
}

const rows = async (query) => [...(await query.values())]
const affected = async (query) => (await query).count
const nothing = async (query) => void (await query)
const column = (found) => found.map((row) => row[0])
const insert = (sql, id) => affected(sql`INSERT INTO item (id) VALUES (${id})`)
const left = async (sql, hundred) => column(await rows(sql`SELECT id FROM item WHERE id / 100 = ${hundred} ORDER BY id`))

const values = () => reserved(async (c) => {
  await step('literals', () => rows(c`SELECT 42, 'Grüße', NULL, true`))
  await step('parameters', () => rows(c`SELECT ${7}::int + 1, ${'é'}::text || '!', encode(${Buffer.from([0, 255, 16])}::bytea, 'hex')`))
  await step('arrays and numerics', () => rows(c`SELECT ARRAY[1, 2, 3], 1.50::numeric`))
  await step('no rows', () => rows(c`SELECT 1 WHERE false`))
  await step('many rows', async () => {
    const found = column(await rows(c`SELECT generate_series(1, 10000)`))
    return [found.length, sum(found)]
  })
})

const REFUSED = new Error('refused')
const forgive = (e) => {
  if (e !== REFUSED) throw e
}

async function transaction() {
  const sql = connect()
  let open
  const begun = sql.begin((t) => step('insert 201', () => insert(t, 201)))
  await step('commit', () => nothing(begun))
  const failing = sql.begin(async (t) => {
    open = t
    await step('insert 202', () => insert(open, 202))
    throw REFUSED
  })
  await step('rollback', () => failing.catch(forgive))
  await step('left', () => left(sql, 2))
  await sql.end()
}

async function nested() {
  const sql = connect()

  const descend = async (t, depth) => {
    await insert(t, 305 + depth)
    if (depth < 5) await t.savepoint((inner) => descend(inner, depth + 1)).catch(forgive)
    if (depth === 3) throw REFUSED
  }

  await step('inner fails, outer commits', async () => {
    await sql.begin(async (t) => {
      await insert(t, 301)
      await t.savepoint(async (inner) => {
        await insert(inner, 302)
        throw REFUSED
      }).catch(forgive)
      await t.savepoint((inner) => insert(inner, 303))
    })
    return left(sql, 3)
  })
  await step('inner commits, outer fails', async () => {
    await sql.begin(async (t) => {
      await insert(t, 304)
      await t.savepoint((inner) => insert(inner, 305))
      throw REFUSED
    }).catch(forgive)
    return left(sql, 3)
  })
  await step('the third of five fails', async () => {
    await sql.begin((t) => descend(t, 1))
    return left(sql, 3)
  })
  await step('a duplicate in the inner block', async () => {
    let failure
    await sql.begin(async (t) => {
      await insert(t, 311)
      await t.savepoint((inner) => insert(inner, 311)).catch((e) => { failure = e })
      await insert(t, 312)
    })
    throw failure
  })
  await step('left', () => left(sql, 3))
  await sql.end()
}

const errors = () => reserved(async (c) => {
  await c`BEGIN`
  await step('division by zero', () => rows(c`SELECT 1 / ${0}::int`))
  await step('after it', () => rows(c`SELECT 1`))
  await step('rollback', () => nothing(c`ROLLBACK`))
  await c`BEGIN`
  await step('insert 401', () => insert(c, 401))
  await c`SAVEPOINT before`
  await step('duplicate', () => insert(c, 401))
  await step('rollback to savepoint', () => nothing(c`ROLLBACK TO before`))
  await step('insert 402', () => insert(c, 402))
  await c`SAVEPOINT before`
  await step('syntax', () => rows(c`SELECT 1 FRM item`))
  await step('rollback to savepoint again', () => nothing(c`ROLLBACK TO before`))
  await step('no such table', () => rows(c`SELECT * FROM missing`))
  await step('rollback to savepoint at last', () => nothing(c`ROLLBACK TO before`))
  await step('commit', () => nothing(c`COMMIT`))
  await c`BEGIN`
  await step('insert 403', () => insert(c, 403))
  await step('division by zero again', () => rows(c`SELECT 1 / 0`))
  await step('commit of a failed transaction', async () => (await c`COMMIT`).command)
  await step('left', () => left(c, 4))
})

const bare_error = () => reserved(async (c) => {
  await step('insert 501', () => insert(c, 501))
  await step('division by zero', () => rows(c`SELECT 1 / ${0}::int`))
  await step('next', () => rows(c`SELECT 1`))
  await step('rollback', () => nothing(c`ROLLBACK`))
  await step('insert 502', () => insert(c, 502))
  await step('left', () => left(c, 5))
})

async function deferred() {
  const sql = connect()
  const begun = sql.begin((t) => step('insert 601', () => affected(t`INSERT INTO item (id, owner) VALUES (601, 99)`)))
  await step('commit', () => nothing(begun))
  await sql.end()
}

/** Only what goes well: the stream of a COPY that fails on the server is never told so. */
const copy = () => reserved(async (c) => {
  const copyIn = async (lines) => stream(Readable.from(lines), await c`COPY bulk (id, body) FROM STDIN`.writable())
  await step('in', async () => {
    await copyIn(Array.from({ length: 1000 }, (_, i) => `${i}\trow ${i}\n`))
    return (await rows(c`SELECT count(*)::int FROM bulk`))[0][0]
  })
  await step('out', async () => {
    let text = ''
    for await (const chunk of await c`COPY bulk (id, body) TO STDOUT`.readable()) text += chunk
    const ids = text.trim().split('\n').map((line) => Number(line.split('\t')[0]))
    return [ids.length, sum(ids)]
  })
  await step('left', () => rows(c`SELECT count(*)::int FROM bulk`))
})

const large = () => reserved(async (c) => {
  await step('there and back', async () => {
    const [[text]] = await rows(c`SELECT ${LARGE_TEXT}::text`)
    return [text.length, md5(text)]
  })
  await step('stored', async () => {
    await c`INSERT INTO bulk (id, body) VALUES (800000, ${LARGE_TEXT})`
    return rows(c`SELECT length(body), md5(body) FROM bulk WHERE id = 800000`)
  })
})

const cancel = () => reserved(async (c) => {
  const watch = connect()
  await c`BEGIN`
  await step('sleep', async () => {
    const sleeping = c`SELECT pg_sleep(60)`.simple()
    const ended = nothing(sleeping)
    while ((await rows(watch`SELECT 1 FROM pg_stat_activity WHERE datname = current_database()
      AND wait_event = 'PgSleep'`)).length === 0) await watch`SELECT pg_stat_clear_snapshot()`
    sleeping.cancel()
    await ended
  })
  await step('rollback', () => nothing(c`ROLLBACK`))
  await step('usable', () => rows(c`SELECT 1`))
  await watch.end()
})

async function cursor() {
  const sql = connect()
  await step('portions', () => sql.begin(async (t) => {
    const found = []
    for await (const some of t`SELECT generate_series(1, 1000) AS n`.cursor(100)) found.push(some.map((row) => row.n))
    return portions(found)
  }))
  await sql.end()
}

/** listen() has a connection of its own, on which the program cannot run anything else. */
async function listen() {
  const sql = connect()
  const speaker = connect()
  const heard = []
  let unlisten
  const first = new Promise((resolve) => {
    step('listen', async () => {
      ({ unlisten } = await sql.listen('news', (payload) => {
        heard.push(['news', payload])
        resolve()
      }))
    }).then(() => speaker.notify('news', 'hello')).then(() => speaker.end())
  })
  await step('heard after the end', async () => {
    await first
    return heard
  })
  await step('unlisten', () => nothing(unlisten()))
  await step('heard at last', () => heard)
  await sql.end()
}

async function tasks() {
  const sql = connect()
  const notify = (c, payload) => rows(c`SELECT pg_notify(${'tasks'}, ${payload})`)
  await step('NOTIFY', () => nothing(sql`NOTIFY tasks, 'notify'`))
  await step('pg_notify', () => notify(sql, 'function'))
  await sql.begin((t) => step('committed', () => notify(t, 'committed')))
  await sql.begin(async (t) => {
    await step('rolled back', () => notify(t, 'rolled back'))
    throw REFUSED
  }).catch(forgive)
  await sql.begin(async (t) => {
    await t.savepoint(async (inner) => {
      await step('undone by a savepoint', () => notify(inner, 'undone'))
      throw REFUSED
    }).catch(forgive)
    await step('kept by it', () => notify(t, 'kept'))
  })
  const c = await sql.reserve()
  await c`BEGIN`
  await step('bad channel', () => rows(c`SELECT pg_notify(${''}, ${'x'})`))
  await step('rollback', () => nothing(c`ROLLBACK`))
  await step('NOTIFY without payload', () => nothing(c`NOTIFY tasks`))
  c.release()
  await sql.end()
}

/** Giving a reserved connection back sends nothing. */
async function pool() {
  const sql = connect()

  const use = async (label, body, outcome = 'commit') => {
    const c = await sql.reserve()
    await c`SELECT set_config('pgatomic.request', ${label}, false)`
    const done = await body(c)
    if (outcome) await c`SELECT set_config('pgatomic.outcome', ${outcome}, false)`
    c.release()
    return done
  }

  await step('first use', () => use('/pool/first', (c) => insert(c, 1201)))
  await step('left open', () => use('/pool/open', async (c) => {
    await c`BEGIN`
    return insert(c, 1202)
  }, null))
  const c = await sql.reserve()
  await c`ROLLBACK`
  c.release()
  await step('next use', () => use('/pool/next', (c) => left(c, 12)))
  await step('marked', () => use('/pool/marked', (c) => insert(c, 1203)))
  await step('marked, no outcome', () => use('/pool/forgotten', (c) => insert(c, 1204), null))
  await step('next mark', () => use('/pool/last', (c) => insert(c, 1205)))
  await sql.end()
}

/** Every query is prepared under a name of its own at its first use. */
const prepared = () => reserved(async (c) => {
  const divide = async (by) => (await rows(c`SELECT 100 / ${by}::int`))[0][0]
  await step('often', async () => {
    const found = []
    for (let i = 1; i <= 100; i++) found.push((await rows(c`SELECT ${i}::int`))[0][0])
    return [found.length, sum(found)]
  })
  await c`BEGIN`
  await divide(10)
  await step('fails', () => divide(0))
  await step('rollback', () => nothing(c`ROLLBACK`))
  await step('again', async () => [[await divide(20)]])
})

/** Queries of one tick leave together, each with a Sync of its own. */
const burst = () => reserved(async (c) => {
  const outcome = (promise) => promise.catch((e) => e.code)
  const insertion = (id) => outcome(insert(c, id))
  const prepare = async () => {
    await c`DELETE FROM item WHERE id = ${0}`
  }
  await prepare()
  await step('good', () => Promise.all([insertion(1901), insertion(1902)]))
  await step('bad', () => Promise.all([insertion(1903), outcome(affected(c`SELECT 1 / ${0}::int`)), insertion(1904)]))
  await step('next', () => rows(c`SELECT 1`))
  await step('rollback', () => nothing(c`ROLLBACK`))
  await step('insert 1905', () => insert(c, 1905))
  await step('left', () => left(c, 19))
})

const marks = () => reserved(async (c) => {
  const request = (name, label) => step(name, () => nothing(c.unsafe(`SET pgatomic.request = '${label}'`)))
  const outcome = (name, how) => step(name, () => nothing(c.unsafe(`SET pgatomic.outcome = '${how}'`)))
  const insertion = (id) => step(`insert ${id}`, () => insert(c, id))

  await request('request', '/shop/checkout')
  await insertion(1501)
  await insertion(1502)
  await step('show', () => rows(c`SHOW pgatomic.request`))
  await outcome('outcome commit', 'commit')
  await request('request to roll back', '/shop/rollback')
  await insertion(1503)
  await outcome('outcome rollback', 'rollback')
  await step('request by set_config', () => rows(c`SELECT set_config('pgatomic.request', ${'/shop/basket'}, false)`))
  await insertion(1504)
  await step('outcome by set_config', () => rows(c`SELECT set_config(${'pgatomic.outcome'}, ${'commit'}, ${false})`))
  await request('request that fails', '/shop/fails')
  await insertion(1505)
  await step('division by zero', () => rows(c`SELECT 1 / 0`))
  await insertion(1506)
  await outcome('outcome of the failed', 'commit')
  await request('request with blocks', '/shop/blocks')
  await step('blocks', async () => {
    await c`BEGIN`
    await insert(c, 1507)
    await c`SAVEPOINT s`
    await insert(c, 1508)
    await c`ROLLBACK TO s`
    await insert(c, 1509)
    await c`COMMIT`
    return column(await rows(c`SELECT id FROM item WHERE id BETWEEN 1507 AND 1509 ORDER BY id`))
  })
  await outcome('outcome of the blocks', 'commit')
  await request('request with a deferred failure', '/shop/deferred')
  await step('insert 1510', () => affected(c`INSERT INTO item (id, owner) VALUES (1510, 99)`))
  await outcome('outcome of the deferred failure', 'commit')
  await request('request without outcome', '/shop/forgotten')
  await insertion(1511)
  await request('next request', '/shop/next')
  await insertion(1512)
  await outcome('outcome of the next', 'commit')
  await request('last request', '/shop/last')
  await insertion(1513)
})

const forgetful = () => reserved((c) => step('insert 1601', () => insert(c, 1601)), { connection: { application_name: 'forgetful' } })

const strings = () => reserved(async (c) => {
  const script = (text) => nothing(c.unsafe(text))
  await step('good', () => script('INSERT INTO item (id) VALUES (1701); INSERT INTO item (id) VALUES (1702)'))
  await step('bad', () => script('INSERT INTO item (id) VALUES (1703); SELECT 1 / 0; INSERT INTO item (id) VALUES (1704)'))
  await step('next', () => rows(c`SELECT 1`))
  await step('rollback', () => nothing(c`ROLLBACK`))
  await step('transactions inside', () => script(`BEGIN; INSERT INTO item (id) VALUES (1705); COMMIT;
    BEGIN; INSERT INTO item (id) VALUES (1706); ROLLBACK`))
  await step('left', () => left(c, 17))
})

report.play([values, transaction, nested, errors, bare_error, deferred, copy, large, cancel, cursor, listen, tasks, pool, prepared, burst,
  marks, forgetful, strings])
