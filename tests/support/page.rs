//! A web page with its own origin, which reports the observations of its script.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::Duration,
};

use serde_json::Value;

/// How long a connection that a browser opens in advance may stay silent.
const PATIENCE: Duration = Duration::from_secs(60);

/// Serves one page whose script posts JSON to `/report`.
pub(crate) struct Page {
    address: SocketAddr,
    reports: Receiver<Value>,
}

impl Page {
    /// Serves this HTML on a free port. The thread ends with the test process.
    pub(crate) fn serve(html: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (sender, reports) = channel();
        let html: Arc<str> = html.into();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (html, sender) = (Arc::clone(&html), sender.clone());
                thread::spawn(move || answer(stream, &html, &sender));
            }
        });
        Self { address, reports }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Returns the next report of the script.
    pub(crate) fn report(&self, patience: Duration) -> Result<Value, RecvTimeoutError> {
        self.reports.recv_timeout(patience)
    }
}

/// Responds to one request; browsers open as many connections as they need.
fn answer(mut stream: TcpStream, html: &str, reports: &Sender<Value>) {
    let _unsupported = stream.set_read_timeout(Some(PATIENCE));
    let Some((line, body)) = read_request(&mut stream) else { return };
    let (status, content) = match &*line {
        "GET /" => ("200 OK", html),
        "POST /report" => {
            let report = serde_json::from_slice(&body).expect("a report in JSON");
            let _nobody_waits = reports.send(report);
            ("204 No Content", "")
        }
        _ => ("404 Not Found", ""),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nConnection: close\r\n"
    );
    let length = format!("Content-Length: {}\r\n\r\n", content.len());
    let length = if status.starts_with("204") { "\r\n" } else { &length };
    let _gone = stream.write_all(format!("{head}{length}{content}").as_bytes());
}

/// Reads method, path and body; `None` if the connection ends before that.
fn read_request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut headers);
        if let httparse::Status::Complete(head) = request.parse(&bytes).ok()? {
            let named = request
                .headers
                .iter()
                .find(|header| header.name.eq_ignore_ascii_case("content-length"));
            let length: usize = match named {
                Some(header) => str::from_utf8(header.value).ok()?.parse().ok()?,
                None => 0,
            };
            if let Some(body) = bytes.get(head..head + length) {
                return Some((format!("{} {}", request.method?, request.path?), body.to_vec()));
            }
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer) {
            Ok(count @ 1..) => bytes.extend(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            _ => return None,
        }
    }
}
