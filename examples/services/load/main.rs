//! The cost of keys and limits in a service: requests per second of `lucitra` over loopback, with
//! and without the layer.
//!
//! `cargo run --release -p keyward-services --example lucitra_load` prints the figures and the
//! ratio. One process serves the router of lucitra. A second process serves the same router without
//! the layer for keys. Everything else is the same in both: request ids, error bodies, a log whose
//! output is discarded, and the middleware for sessions, which finds none. Both get the same
//! requests over persistent connections, in alternating turns of one second.
//!
//! The printed ratio is the median of the ratios of neighbouring turns. Client and service share the
//! machine. So the ratio of the processor time of the service, which is printed too, is stricter.
#![forbid(unsafe_code)]

#[path = "../lucitra/app.rs"]
#[allow(dead_code, reason = "only lucitra itself shows the demo credentials")]
mod app;
#[path = "../lucitra/auth.rs"]
mod auth;
mod client;
#[path = "../lucitra/datasets.rs"]
mod datasets;
#[path = "../lucitra/enterprise.rs"]
mod enterprise;
#[path = "../lucitra/limits.rs"]
#[allow(dead_code, reason = "this program does not use Redis")]
mod limits;
#[path = "../lucitra/organization.rs"]
mod organization;
mod server;
#[path = "../lucitra/sessions.rs"]
mod sessions;

use std::{env, error::Error, process::ExitCode, time::Duration};

use crate::server::{Server, Serving};

/// The number of measured pairs of turns. One pair before them warms up and is not measured.
const PAIRS: usize = 20;
const TURN: Duration = Duration::from_secs(1);
const CONNECTIONS: usize = 16;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        [] => measure().await,
        // The arguments of the two processes that `measure` starts.
        ["serve", how] => match Serving::named(how) {
            Some(serving) => server::serve(serving).await,
            None => return usage(),
        },
        _ => return usage(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lucitra_load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: lucitra_load");
    ExitCode::from(2)
}

async fn measure() -> Result<(), Box<dyn Error>> {
    let with = Server::start(Serving::WithLayer)?;
    let without = Server::start(Serving::Bare)?;
    let keys = with.keys();
    let (mut rates, mut costs) = ([vec![], vec![]], [vec![], vec![]]);
    for pair in 0..=PAIRS {
        // The order alternates, so that a drift of the machine's speed affects both equally.
        let order = if pair % 2 == 0 { [0, 1] } else { [1, 0] };
        for place in order {
            let server = [&with, &without][place];
            let before = server.processor_time()?;
            let served = client::load(server.address(), keys, CONNECTIONS, TURN).await?;
            let cost = server.processor_time()? - before;
            if pair > 0 {
                rates[place].push(served as f64 / TURN.as_secs_f64());
                costs[place].push(cost.as_secs_f64() * 1e6 / served as f64);
            }
        }
    }
    let [with_rate, without_rate] = [&rates[0], &rates[1]].map(|rates| median(rates));
    let [with_cost, without_cost] = [&costs[0], &costs[1]].map(|costs| median(costs));
    println!("{PAIRS} pairs of turns of {TURN:?}, {CONNECTIONS} connections, {} keys", keys.len());
    println!(
        "with the layer     {with_rate:>7.0} requests/s  {with_cost:>5.1} us of processor time each"
    );
    println!(
        "without the layer  {without_rate:>7.0} requests/s  {without_cost:>5.1} us of processor time each"
    );
    let [low, middle, high] = quartiles(&ratios(&rates[0], &rates[1]));
    println!("ratio of requests/s        {middle:.3} (quartiles {low:.3} to {high:.3})");
    let [low, middle, high] = quartiles(&ratios(&costs[1], &costs[0]));
    println!("ratio of processor time    {middle:.3} (quartiles {low:.3} to {high:.3})");
    Ok(())
}

fn ratios(above: &[f64], below: &[f64]) -> Vec<f64> {
    above.iter().zip(below).map(|(above, below)| above / below).collect()
}

fn median(values: &[f64]) -> f64 {
    quartiles(values)[1]
}

fn quartiles(values: &[f64]) -> [f64; 3] {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| sorted[(sorted.len() - 1) * quarter / 4])
}
