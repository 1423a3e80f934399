//! The client: sends requests over persistent connections and reads the responses.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::Instant,
};

/// Requests datasets over `connections` connections for `duration`, one request after the other on
/// each. Returns the number of responses. A status other than 200 is an error.
pub(crate) async fn load(
    address: SocketAddr,
    keys: &[String],
    connections: usize,
    duration: Duration,
) -> io::Result<u64> {
    let requests: Arc<[Vec<u8>]> = keys.iter().map(|key| request(key)).collect();
    let end = Instant::now() + duration;
    let mut all = JoinSet::new();
    for at in 0..connections {
        let requests = Arc::clone(&requests);
        all.spawn(async move {
            // Each connection has its own keys, so that all keys are used equally often.
            let own = requests.iter().skip(at).step_by(connections).cycle();
            let mut connection = Connection::open(address).await?;
            let mut served = 0;
            for request in own {
                if Instant::now() >= end {
                    break;
                }
                connection.exchange(request).await?;
                served += 1;
            }
            Ok::<u64, io::Error>(served)
        });
    }
    let mut served = 0;
    while let Some(one) = all.join_next().await {
        served += one??;
    }
    Ok(served)
}

fn request(key: &str) -> Vec<u8> {
    let line = format!("GET /v1/datasets HTTP/1.1\r\nHost: load\r\nAuthorization: Bearer {key}");
    format!("{line}\r\n\r\n").into_bytes()
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4_096) })
    }

    /// Sends one request and reads the whole response.
    async fn exchange(&mut self, request: &[u8]) -> io::Result<()> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let Some(end) = find(&self.buffer, b"\r\n\r\n") else { continue };
            let (head, body) = self.buffer.split_at(end + 4);
            if !head.starts_with(b"HTTP/1.1 200 ") {
                let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
                return Err(io::Error::other(format!("the response is {}", line.escape_ascii())));
            }
            if body.len() >= length(head)? {
                return Ok(());
            }
        }
    }
}

/// Returns the length of the body, from the head.
fn length(head: &[u8]) -> io::Result<usize> {
    const NAME: &[u8] = b"\r\ncontent-length: ";

    let at = find(head, NAME).map(|at| at + NAME.len());
    let value = at.and_then(|at| head[at..].split(|&byte| byte == b'\r').next());
    let value = value.and_then(|value| str::from_utf8(value).ok()?.parse().ok());
    value.ok_or_else(|| io::Error::other("a response without Content-Length"))
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
