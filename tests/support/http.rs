//! An HTTP/1.1 client that sends exact bytes: duplicate headers, invalid bytes, truncated bodies.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;

/// A timeout long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Clone, Debug)]
pub(crate) struct Request {
    head: Vec<u8>,
    body: Option<Vec<u8>>,
}

impl Request {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        let head = format!("{method} {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n");
        Self { head: head.into_bytes(), body: None }
    }

    pub(crate) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    pub(crate) fn post(target: &str) -> Self {
        Self::new("POST", target)
    }

    /// Adds a header line. Two calls send two lines.
    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.head.extend(name.as_bytes());
        self.head.extend(b": ");
        self.head.extend(value.as_ref());
        self.head.extend(b"\r\n");
        self
    }

    pub(crate) fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = Some(body.as_ref().to_vec());
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.header("Content-Type", "application/json").body(body.to_string())
    }

    /// Returns the request target: path and query.
    pub(crate) fn target(&self) -> &str {
        let line = self.head.split(|byte| *byte == b'\r').next().unwrap_or_default();
        str::from_utf8(line).expect("a request line").split(' ').nth(1).expect("a target")
    }

    fn bytes(self) -> Vec<u8> {
        let Self { mut head, body } = self;
        if let Some(body) = &body {
            head.extend(format!("Content-Length: {}\r\n", body.len()).as_bytes());
        }
        head.extend(b"\r\n");
        head.extend(body.unwrap_or_default());
        head
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// Returns all values of a header, in their order.
    pub(crate) fn headers(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// Returns the body as JSON, and asserts its content type.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.headers("content-type"), ["application/json"], "{self:?}");
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

pub(crate) fn send(address: SocketAddr, request: Request) -> Response {
    let without_body = request.head.starts_with(b"HEAD ");
    read_response(connect_and_write(address, &request.bytes()), without_body)
}

/// Sends exactly these bytes, then waits for a response.
pub(crate) fn send_raw(address: SocketAddr, bytes: &[u8]) -> Response {
    read_response(connect_and_write(address, bytes), false)
}

pub(crate) fn connect_and_write(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the service listens");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    // A service may reject the request, respond and close before it has read everything.
    let _refused_early = stream.write_all(bytes);
    stream
}

/// Reads one response to its announced end.
fn read_response(mut stream: TcpStream, without_body: bool) -> Response {
    let mut bytes = Vec::new();
    loop {
        if let Some(response) = parse(&bytes, without_body) {
            return response;
        }
        let mut buffer = [0; 4096];
        let count = match stream.read(&mut buffer) {
            Ok(count) => count,
            // The kernel does not restart a read with a timeout after a signal stops and continues
            // the process.
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&bytes)),
        };
        assert!(count > 0, "the response ended early: {:?}", String::from_utf8_lossy(&bytes));
        bytes.extend(&buffer[..count]);
    }
}

fn parse(bytes: &[u8], without_body: bool) -> Option<Response> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(bytes).expect("HTTP") else {
        return None;
    };
    let headers: Vec<(String, String)> = response
        .headers
        .iter()
        .map(|header| {
            let value = str::from_utf8(header.value).expect("headers are ASCII");
            (header.name.to_owned(), value.to_owned())
        })
        .collect();
    let mut response =
        Response { status: response.code.expect("a status"), headers, body: Vec::new() };
    assert!(response.headers("transfer-encoding").is_empty(), "short responses have a length");
    let length = match response.headers("content-length")[..] {
        _ if without_body => 0,
        [] => 0,
        [length] => length.parse().expect("a length"),
        _ => panic!("two lengths: {response:?}"),
    };
    response.body = bytes.get(head..head + length)?.to_vec();
    Some(response)
}
