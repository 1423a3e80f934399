//! One route behind API keys: 100 requests in any 60 seconds for each key.
//!
//! `cargo run --example quickstart` prints a `curl` command with a fresh key.
#![forbid(unsafe_code)]

use std::error::Error;

use axum::{Router, routing::get};
use keyward::{Access, MemoryStore, Quota};
use keyward_tower::{ApiKeys, Caller};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let keys =
        ApiKeys::bearer("acme_", MemoryStore::new()).limit(Quota::per_minute(100)).build()?;
    let issued = keys.issue("customer-7", "laptop").await?; // the plaintext exists only here

    let any_key = keys.require(Access::any_key())?;
    let app = Router::new().route("/v1/data", get(data).route_layer(any_key));

    let listener = TcpListener::bind("127.0.0.1:0").await?; // port 0: any free port
    let url = format!("http://{}/v1/data", listener.local_addr()?);
    println!("curl -i -H 'Authorization: Bearer {}' {url}", issued.key.expose());
    axum::serve(listener, app).await?;
    Ok(())
}

async fn data(caller: Caller) -> String {
    format!("data of {}\n", caller.owner_id()) // the owner comes from the record of the key
}
