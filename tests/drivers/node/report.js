// What both Node programs print: a JSON line per step; how errors look in it.
'use strict'

const crypto = require('crypto')

const LARGE_TEXT = 'pgatomic'.repeat((20 * 1024 * 1024) / 8)

const md5 = (text) => crypto.createHash('md5').update(text).digest('hex')
const sum = (numbers) => numbers.reduce((a, b) => a + b, 0)

/** Of a result that was fetched in portions: how many, how many rows, what they add up to. */
const portions = (found) => [found.length, sum(found.map((p) => p.length)), sum(found.map(sum))]

const describe = (e) => ({
  sqlstate: e.code, severity: e.severity, message: e.message, detail: e.detail ?? null, hint: e.hint ?? null,
  position: e.position ?? null, constraint: e.constraint ?? e.constraint_name ?? null, routine: e.routine ?? null,
})

/** An error of the server's; others are the program's own and end it. */
const isServerError = (e) => typeof e.code === 'string' && /^[0-9A-Z]{5}$/.test(e.code)

class Report {
  constructor(status) {
    this.status = status
  }

  /** Does `action` and prints what came of it; the state of `connection` after it, where one is given. */
  async step(step, action, connection) {
    const line = { scenario: this.scenario, step }
    try {
      line.got = (await action()) ?? null
    } catch (e) {
      if (!isServerError(e)) throw e
      line.error = describe(e)
    }
    if (connection && this.status) line.status = await this.status(connection)
    console.log(JSON.stringify(line))
  }

  /** Plays the scenarios one after the other. A program that fails says so and ends. */
  async play(scenarios) {
    try {
      for (const scenario of scenarios) {
        this.scenario = scenario.name
        await scenario()
      }
    } catch (e) {
      console.error(e)
      process.exit(1)
    }
  }
}

module.exports = { LARGE_TEXT, Report, describe, isServerError, md5, portions, sum }
