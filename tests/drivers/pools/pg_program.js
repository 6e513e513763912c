// node-postgres' Pool, which sends nothing when a connection comes back, and a listener that hears all clients.
'use strict'

const { once } = require('events')
const { Client, Pool } = require('pg')
const Cursor = require('pg-cursor')
const { from: copyFrom } = require('pg-copy-streams')

const CLIENTS = Number(process.env.CLIENTS)
const TURNS = Number(process.env.TURNS)
const KEPT = [0, 2, 5, 6]
const SUM = 'SELECT count(*)::int AS count, coalesce(sum(amount), 0)::int AS sum FROM ledger WHERE client = $1'

/** So many rows has a client kept of the turns before this one. */
const rowsBefore = (turn) => [...Array(turn).keys()].filter((t) => KEPT.includes(t % 8)).length

function check(found, wanted, what) {
  const [a, b] = [JSON.stringify(found), JSON.stringify(wanted)]
  if (a !== b) throw new Error(`${what}: ${a}, expected ${b}`)
}

const insert = (c, client, turn) => c.query({
  name: 'insert', text: 'INSERT INTO ledger (client, turn, amount) VALUES ($1, $2, $3)', values: [client, turn, client + 1],
})
const count = async (c, client) => (await c.query({ name: 'sum', text: SUM, values: [client] })).rows[0].count
const value = async (c, sql, values) => Object.values((await c.query(sql, values)).rows[0])[0]

async function notify(c, client, turn) {
  await insert(c, client, turn)
  await c.query("SELECT pg_notify('work', $1)", [String(client)])
}

async function rollback(c, client, turn) {
  await c.query('BEGIN')
  await insert(c, client, turn)
  check(await count(c, client), rowsBefore(turn) + 1, 'rows within the transaction')
  await c.query('ROLLBACK')
}

async function local(c, client, turn) {
  await c.query('BEGIN')
  await c.query(`SET LOCAL work.who = '${client}.${turn}'`)
  await insert(c, client, turn)
  check(await value(c, "SELECT current_setting('work.who')"), `${client}.${turn}`, 'SET LOCAL')
  await c.query('COMMIT')
}

async function settings(c, client, turn) {
  await c.query(`SET work.who = '${client}.${turn}'`)
  await c.query(`SET search_path = client_${client}, public`)
  check(await count(c, client), rowsBefore(turn), 'rows')
  check(await value(c, "SELECT current_setting('work.who')"), `${client}.${turn}`, 'SET')
  check(await value(c, 'SHOW search_path'), `client_${client}, public`, 'search_path')
}

async function cursor(c, client) {
  const seen = []
  await c.query('BEGIN')
  const portions = c.query(new Cursor('SELECT $1::int * 1000 + generate_series(1, 50) AS n', [client]))
  for (let rows = await portions.read(10); rows.length; rows = await portions.read(10)) seen.push(...rows.map((row) => row.n))
  await portions.close()
  await c.query('COMMIT')
  check(seen, Array.from({ length: 50 }, (_, i) => client * 1000 + 1 + i), 'rows of the cursor')
}

async function copy(c, client, turn) {
  const stream = c.query(copyFrom('COPY ledger (client, turn, amount) FROM STDIN'))
  stream.end(`${client}\t${turn}\t${client + 1}\n`)
  await once(stream, 'finish')
}

async function error(c, client, turn) {
  const code = await c.query('SELECT 1 / $1::int', [0]).then(() => 'none', (e) => e.code)
  check(code, '22012', '1 / 0')
  await insert(c, client, turn)
}

async function total(c, client, turn) {
  const rows = rowsBefore(turn)
  check((await c.query({ name: 'sum', text: SUM, values: [client] })).rows, [{ count: rows, sum: rows * (client + 1) }], 'rows and sum')
}

const KINDS = [notify, rollback, local, settings, cursor, copy, error, total]

async function clientOf(pool, client, tally) {
  for (let turn = 0; turn < TURNS; turn++) {
    try {
      const c = await pool.connect()
      try {
        await KINDS[turn % KINDS.length](c, client, turn)
      } finally {
        c.release()
      }
    } catch (e) {
      tally.wrong.push(`client ${client}, turn ${turn}: ${e.message}`)
    }
    tally.turns++
  }
}

async function main() {
  const wanted = []
  for (let turn = 0; turn < TURNS; turn += 8) for (let client = 0; client < CLIENTS; client++) wanted.push(client)
  const tally = { turns: 0, heard: null, wrong: [] }
  const heard = []
  const listener = new Client()
  await listener.connect()
  const allHeard = new Promise((resolve) => {
    listener.on('notification', ({ payload }) => heard.push(Number(payload)) === wanted.length && resolve())
  })
  await listener.query('LISTEN work')
  const pool = new Pool({ max: CLIENTS })
  await Promise.all([...Array(CLIENTS).keys()].map((client) => clientOf(pool, client, tally)))
  const late = setTimeout(() => { throw new Error(`heard ${heard.length} of ${wanted.length}`) }, 60000)
  await allHeard
  clearTimeout(late)
  const ordered = (numbers) => [...numbers].sort((a, b) => a - b).join()
  tally.heard = ordered(heard) === ordered(wanted)
  await listener.end()
  await pool.end()
  console.log(JSON.stringify({ ...tally, wrong: tally.wrong.slice(0, 10) }))
}

main().catch((e) => { console.error(e); process.exit(1) })
