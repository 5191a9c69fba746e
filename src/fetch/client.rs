//! HTTP, one request at a time: proxies, certificates, timeouts and redirects.

use super::{Settings, address};
use crate::error::{Error, Result};
use crate::regular;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use ureq::Agent;
use ureq::http::{Response, StatusCode, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};

/// Hugging Face needs two; more is a circle.
const MAX_REDIRECTS: usize = 8;
/// Variables that name a proxy.
const PROXIES: [&str; 6] =
    ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];

/// What makes requests.
pub(super) struct Client {
    agent: Agent,
    /// Plain http was asked for, so redirects may lead to it.
    plain: bool,
}

/// Why a request gave nothing.
pub(super) enum Trouble {
    /// May pass: try again, after so long if the server said.
    Passing(String, Option<Duration>),
    /// Will not pass. Says what to do, if it is not the usual.
    Lasting(String, Option<&'static str>),
    /// Not the network's: the disk's.
    Ours(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

/// What the server answers, before its body.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) length: Option<u64>,
    /// `Content-Range`: first byte and length of the whole, where they are given.
    pub(super) range: (Option<u64>, Option<u64>),
    /// What `If-Range` may hold.
    pub(super) validator: Option<String>,
    /// `Retry-After` in seconds.
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Box<dyn Read>,
}

impl Client {
    /// Honours `ALL_PROXY`, `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY` and `SSL_CERT_FILE`.
    pub(super) fn new(url: &str, settings: &Settings) -> Result<Self> {
        let set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        if let Some(name) = PROXIES.iter().copied().find(set)
            && ureq::Proxy::try_from_env().is_none()
        {
            return Err(Error::request(
                format!("the variable `{name}` names no proxy that can be used"),
                "write it as `http://HOST:PORT`, or unset it",
            ));
        }
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("nada/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(settings.patience))
            .timeout_connect(Some(settings.patience))
            .timeout_recv_response(Some(settings.patience))
            .timeout_per_read(Some(settings.patience))
            .timeout_per_write(Some(settings.patience));
        if let Some(roots) = certificates()? {
            config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
        }
        Ok(Self { agent: config.build().new_agent(), plain: address::is_plain(url) })
    }

    /// Asks for `url` from byte `from` on, of the version that `validator` names.
    pub(super) fn get(
        &self,
        url: &str,
        from: u64,
        validator: Option<&str>,
    ) -> std::result::Result<Answer, Trouble> {
        let mut url = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.agent.get(&url).header(header::ACCEPT_ENCODING, "identity");
            if from > 0 {
                request = request.header(header::RANGE, format!("bytes={from}-"));
                if let Some(validator) = validator {
                    request = request.header(header::IF_RANGE, validator);
                }
            }
            let response = request.call().map_err(|e| trouble(&e))?;
            let status = response.status();
            // 304 is no redirect, and an answer to nothing that was asked.
            let location = response.headers().get(header::LOCATION).and_then(|l| l.to_str().ok());
            match location {
                Some(location) if status.is_redirection() && status != StatusCode::NOT_MODIFIED => {
                    url = address::follow(&url, location, self.plain).map_err(|why| {
                        Trouble::Lasting(
                            why,
                            Some("use a mirror with `--base-url`, if you know one"),
                        )
                    })?;
                }
                _ => return answer(response),
            }
        }
        Err(Trouble::Lasting(format!("the server redirects more than {MAX_REDIRECTS} times"), None))
    }
}

/// The certificates in `SSL_CERT_FILE`: networks that look into TLS have their own. Otherwise Mozilla's.
fn certificates() -> Result<Option<RootCerts>> {
    let Some(path) = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()) else {
        return Ok(None);
    };
    let pem = regular::bytes(Path::new(&path), regular::MAX_TEXT, "a list of certificates")?;
    let mut found: Vec<Certificate<'static>> = Vec::new();
    for item in ureq::tls::parse_pem(&pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => found.push(certificate),
            Ok(_) => {}
            Err(e) => return Err(Error::file(&path, format!("is no list of certificates: {e}"))),
        }
    }
    if found.is_empty() {
        return Err(Error::file_hint(
            &path,
            "holds no certificate in PEM form",
            "name another file in `SSL_CERT_FILE`, or unset it",
        ));
    }
    Ok(Some(RootCerts::Specific(Arc::new(found))))
}

fn answer(response: Response<ureq::Body>) -> std::result::Result<Answer, Trouble> {
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    if let Some(encoding) = text(header::CONTENT_ENCODING).filter(|e| *e != "identity") {
        let why = format!("the server answers in `{encoding}`, which was not asked for");
        return Err(Trouble::Lasting(why, None));
    }
    let seconds = text(header::RETRY_AFTER).and_then(|value| value.trim().parse().ok());
    // A weak tag promises the same meaning, not the same bytes.
    let tag = text(header::ETAG).filter(|tag| !tag.starts_with("W/"));
    Ok(Answer {
        status: response.status().as_u16(),
        length: text(header::CONTENT_LENGTH).and_then(|value| value.trim().parse().ok()),
        range: text(header::CONTENT_RANGE).map_or((None, None), range),
        validator: tag.or(text(header::LAST_MODIFIED)).map(str::to_owned),
        retry_after: seconds.map(Duration::from_secs),
        body: Box::new(response.into_body().into_reader()),
    })
}

/// `bytes 5-9/10` begins at 5 and has 10 in all; `bytes */10` says the latter only.
fn range(text: &str) -> (Option<u64>, Option<u64>) {
    let Some((span, total)) = text.trim().strip_prefix("bytes").and_then(|t| t.split_once('/'))
    else {
        return (None, None);
    };
    let first = span.split('-').next().and_then(|first| first.trim().parse().ok());
    (first, total.trim().parse().ok())
}

/// Whether a fault of the network may pass.
fn trouble(error: &ureq::Error) -> Trouble {
    let offline =
        "the host was not found: this machine is offline, or needs a proxy (`HTTPS_PROXY`)";
    match error {
        ureq::Error::HostNotFound => Trouble::Lasting(offline.into(), None),
        // The standard library gives it no kind of its own.
        ureq::Error::Io(e) if e.to_string().contains("failed to lookup address") => {
            Trouble::Lasting(offline.into(), None)
        }
        ureq::Error::ConnectProxyFailed(why) => Trouble::Lasting(
            format!("the proxy refuses: {why}"),
            Some("ask who runs it, or name another in `HTTPS_PROXY`"),
        ),
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) => untrusted(error),
        // During the handshake rustls's errors come wrapped.
        ureq::Error::Io(e) if e.kind() == std::io::ErrorKind::InvalidData => untrusted(e),
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
            Trouble::Lasting(format!("the address cannot be used: {error}"), None)
        }
        ureq::Error::Timeout(_) => Trouble::Passing("the server is silent".into(), None),
        ureq::Error::Io(e) => Trouble::Passing(words(e), None),
        other => Trouble::Passing(other.to_string(), None),
    }
}

fn untrusted(error: &dyn std::fmt::Display) -> Trouble {
    Trouble::Lasting(
        format!("the server could not be trusted: {error}"),
        Some("if your network looks into TLS, name its certificates with `SSL_CERT_FILE`"),
    )
}

/// What an error of the connection means.
pub(super) fn words(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    let inner = error.get_ref().and_then(|e| e.downcast_ref::<ureq::Error>());
    match (inner, error.kind()) {
        (Some(ureq::Error::Timeout(_)), _) | (_, ErrorKind::TimedOut | ErrorKind::WouldBlock) => {
            "the server is silent".into()
        }
        (_, ErrorKind::ConnectionRefused) => "nobody answers there (connection refused)".into(),
        (
            _,
            ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe,
        ) => "the connection was cut".into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn ranges_are_read() {
        assert_eq!(super::range("bytes 5-9/10"), (Some(5), Some(10)));
        assert_eq!(super::range("bytes */10"), (None, Some(10)));
        assert_eq!(super::range("bytes 5-9/*"), (Some(5), None));
        assert_eq!(super::range("lines 5-9/10"), (None, None));
    }
}
