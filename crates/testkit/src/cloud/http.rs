//! As much of HTTP/1.1 as a small object store needs.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use jiff::Timestamp;

/// A request, read whole.
#[derive(Debug, Default, Clone)]
pub(super) struct Request {
    pub(super) verb: String,
    /// Without the first slash, decoded.
    pub(super) path: String,
    pub(super) query: BTreeMap<String, String>,
    /// Names in lower case.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

/// An answer.
#[derive(Debug, Default, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn new(status: u16, body: impl Into<Vec<u8>>) -> Answer {
        Answer { status, headers: Vec::new(), body: body.into() }
    }

    pub(super) fn error(status: u16, code: &str) -> Answer {
        let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>");
        Answer::new(status, body).with("Content-Type", "application/xml")
    }

    pub(super) fn with(mut self, name: &str, value: impl Into<String>) -> Answer {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(super) fn send(&self, head: bool, to: &mut TcpStream) -> io::Result<()> {
        let mut text = format!("HTTP/1.1 {} -\r\n", self.status);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.headers.iter().any(|(name, _)| name == "Content-Length") {
            text.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        text.push_str("\r\n");
        to.write_all(text.as_bytes())?;
        if !head {
            to.write_all(&self.body)?;
        }
        to.flush()
    }
}

/// The next request of a connection; none at its end.
pub(super) fn read(from: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    from.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split_whitespace();
    let (verb, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut request =
        Request { verb, path: decoded(path.trim_start_matches('/')), ..Request::default() };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        request.query.insert(decoded(name), decoded(&value.replace('+', " ")));
    }
    loop {
        let mut line = String::new();
        from.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        request.headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = request.headers.get("content-length").and_then(|text| text.parse().ok());
    request.body = vec![0; length.unwrap_or(0)];
    from.read_exact(&mut request.body).ok()?;
    Some(request)
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let pair = (byte == b'%').then(|| [rest.next(), rest.next()]);
        let value = pair.and_then(|pair| {
            let digits = [pair[0]?, pair[1]?];
            u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()
        });
        bytes.push(value.unwrap_or(byte));
    }
    String::from_utf8(bytes).unwrap()
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(super) fn date(time: Timestamp) -> String {
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
