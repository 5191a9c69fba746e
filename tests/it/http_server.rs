//! A small HTTP server that misbehaves as it is told.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// "GET", or "CONNECT" for a proxy.
    pub(crate) method: String,
    /// The path, or the host and port that a proxy shall connect to.
    pub(crate) path: String,
    /// By lower-case name.
    pub(crate) headers: BTreeMap<String, String>,
    /// How many were made before.
    pub(crate) before: usize,
}

impl Request {
    /// The first byte of `Range: bytes=N-`.
    pub(crate) fn from(&self) -> Option<usize> {
        self.headers.get("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// What is answered.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Bytes of the body that are sent before the connection is closed.
    cut: Option<usize>,
    /// Bytes of the body that are sent before nothing comes any more.
    stall: Option<usize>,
    /// Bytes of the body that are sent before the rest comes very slowly.
    drip: Option<usize>,
    chunked: bool,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let (headers, body) = (Vec::new(), body.into());
        Self { status, headers, body, cut: None, stall: None, drip: None, chunked: false }
    }

    pub(crate) fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.into(), value.to_string()));
        self
    }

    pub(crate) fn cut(mut self, after: usize) -> Self {
        self.cut = Some(after);
        self
    }

    pub(crate) fn stall(mut self, after: usize) -> Self {
        self.stall = Some(after);
        self
    }

    pub(crate) fn drip(mut self, after: usize) -> Self {
        self.drip = Some(after);
        self
    }

    pub(crate) fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    pub(crate) fn redirect(to: &str) -> Self {
        Self::new(302, "").header("Location", to)
    }

    fn send(&self, stream: &mut TcpStream, ended: &AtomicBool) -> std::io::Result<()> {
        let mut head = format!("HTTP/1.1 {} x\r\nConnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &match self.chunked {
            true => "Transfer-Encoding: chunked\r\n\r\n".to_owned(),
            false => format!("Content-Length: {}\r\n\r\n", self.body.len()),
        };
        stream.write_all(head.as_bytes())?;
        let all = self.body.len();
        let sent = self.cut.or(self.stall).or(self.drip).unwrap_or(all).min(all);
        if self.chunked {
            for piece in self.body[..sent].chunks(10_000) {
                write!(stream, "{:x}\r\n", piece.len())?;
                stream.write_all(piece)?;
                stream.write_all(b"\r\n")?;
            }
            if self.cut.is_none() {
                stream.write_all(b"0\r\n\r\n")?;
            }
        } else {
            stream.write_all(&self.body[..sent])?;
        }
        stream.flush()?;
        if self.drip.is_some() {
            for piece in self.body[sent..].chunks(100) {
                std::thread::sleep(Duration::from_millis(20));
                stream.write_all(piece)?;
            }
        }
        while self.stall.is_some() && !ended.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

/// Answers until it is dropped.
pub(crate) struct Server {
    port: u16,
    seen: Arc<Mutex<Vec<Request>>>,
    ended: Arc<AtomicBool>,
}

impl Server {
    pub(crate) fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (seen, ended) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let answer = Arc::new(answer);
        let (record, stop) = (seen.clone(), ended.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let (answer, record, stop) = (answer.clone(), record.clone(), stop.clone());
                std::thread::spawn(move || serve(stream, &*answer, &record, &stop));
            }
        });
        Self { port, seen, ended }
    }

    /// Serves a file with ranges and an `ETag`, as a good server does.
    pub(crate) fn of(file: Vec<u8>) -> Self {
        Self::start(move |request| whole_or_rest(&file, "\"v1\"", request))
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Everything that was asked so far.
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// The file, or what is left of it behind the range that was asked for.
pub(crate) fn whole_or_rest(file: &[u8], tag: &str, request: &Request) -> Reply {
    let same = request.headers.get("if-range").is_none_or(|wanted| wanted == tag);
    match request.from() {
        Some(from) if same && from >= file.len() => {
            Reply::new(416, "").header("Content-Range", format!("bytes */{}", file.len()))
        }
        Some(from) if same => Reply::new(206, &file[from..])
            .header("ETag", tag)
            .header("Content-Range", format!("bytes {from}-{}/{}", file.len() - 1, file.len())),
        _ => Reply::new(200, file).header("ETag", tag).header("Accept-Ranges", "bytes"),
    }
}

fn serve(
    mut stream: TcpStream,
    answer: &(dyn Fn(&Request) -> Reply + Send + Sync),
    seen: &Mutex<Vec<Request>>,
    ended: &AtomicBool,
) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let mut words = first.split(' ').map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return };
    let headers = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(": ").map(|(n, v)| (n.to_lowercase(), v.to_owned())))
        .collect();
    let request = {
        let mut seen = seen.lock().unwrap();
        let before = seen.len();
        seen.push(Request { method, path, headers, before });
        seen[seen.len() - 1].clone()
    };
    // A client that has heard enough may close first.
    let _ = answer(&request).send(&mut stream, ended);
}
