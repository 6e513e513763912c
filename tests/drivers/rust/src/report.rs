//! What a step prints: a JSON line with its result or the server's error. tokio-postgres does not show the transaction status.

use serde_json::{json, Value};
use std::cell::RefCell;
use tokio_postgres::error::ErrorPosition;
use tokio_postgres::Error;

thread_local! {
    static SCENARIO: RefCell<&'static str> = const { RefCell::new("") };
}

/// Names the scenario of the steps that follow.
pub fn scenario(name: &'static str) {
    SCENARIO.with(|s| *s.borrow_mut() = name);
}

/// Prints what came of a step. An error that is not the server's ends the program.
pub fn step(step: &str, outcome: Result<impl Into<Value>, Error>) {
    let scenario = SCENARIO.with(|s| *s.borrow());
    let line = match outcome {
        Ok(got) => json!({"scenario": scenario, "step": step, "got": got.into()}),
        Err(e) => json!({"scenario": scenario, "step": step, "error": describe(&e)}),
    };
    println!("{line}");
}

fn describe(e: &Error) -> Value {
    let Some(server) = e.as_db_error() else {
        panic!("not an error of the server's: {e}");
    };
    let position = match server.position() {
        Some(ErrorPosition::Original(n)) => json!(n),
        _ => Value::Null,
    };
    json!({
        "sqlstate": server.code().code(),
        "severity": server.severity(),
        "message": server.message(),
        "detail": server.detail(),
        "hint": server.hint(),
        "position": position,
        "constraint": server.constraint(),
        "routine": server.routine(),
    })
}
