//! HTTP to the clouds: one runtime behind blocking calls, clients with limits of time, and a record
//! of what the servers answered.
//!
//! `object_store` keeps most of an answer to itself (the code of a refusal, the checksum of what was
//! stored, how often it tried). Each call therefore runs with a record of its own, [`Heard`], which
//! the client below it fills.

use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use tokio::runtime::Runtime;

use super::refusal::Refusal;
use super::sums::Sums;

/// The slowest upload that is waited for, in bytes a second.
const SLOWEST: u64 = 64 << 10;
/// How long data that the other side does not acknowledge are sent again.
const UNACKNOWLEDGED: Duration = Duration::from_secs(60);

/// How long a store is waited for, and how often it is asked again.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For an answer, or its next bytes. An upload has as long again as its size takes at 64 KiB/s.
    pub silence: Duration,
    /// Further tries of a request that broke or was answered by an error of the server (5xx, 429).
    pub retries: usize,
    /// After so long since the first try there is no further one.
    pub total: Duration,
    /// The shortest pause between two tries; each is drawn from a range that doubles.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            connect: Duration::from_secs(10),
            silence: Duration::from_secs(60),
            retries: 6,
            total: Duration::from_secs(120),
            pause: Duration::from_millis(200),
        }
    }
}

/// What the servers answered during one call.
#[derive(Debug, Default, Clone)]
pub(super) struct Heard {
    /// Requests sent.
    pub(super) tries: u32,
    /// The last answer, if it was none of success.
    pub(super) refusal: Option<Refusal>,
    /// The last try broke: no answer, or not all of it.
    pub(super) broke: bool,
    /// A try broke or failed in the server: what it did there is not known.
    pub(super) unclear: bool,
    /// Checksums of the last success.
    pub(super) sums: Sums,
}

impl Heard {
    fn broken(&mut self, kind: HttpErrorKind) {
        self.broke = true;
        self.refusal = None;
        // Without a connection nothing was done.
        self.unclear |= kind != HttpErrorKind::Connect;
    }

    fn refused(&mut self, refusal: Refusal) {
        self.broke = false;
        self.unclear |= refusal.leaves_unclear();
        self.refusal = Some(refusal);
    }

    fn granted(&mut self, sums: Sums) {
        self.broke = false;
        self.refusal = None;
        self.sums = sums;
    }
}

tokio::task_local! {
    static HEARD: Arc<Mutex<Heard>>;
}

fn note(change: impl FnOnce(&mut Heard)) {
    // Outside of a call nobody listens.
    let _ =
        HEARD.try_with(|heard| change(&mut heard.lock().unwrap_or_else(PoisonError::into_inner)));
}

/// Runs a call to its end on this thread; the answers are recorded.
pub(super) fn run<T>(call: impl Future<Output = T>) -> io::Result<(T, Heard)> {
    let heard = Arc::new(Mutex::new(Heard::default()));
    let done = runtime()?.block_on(HEARD.scope(Arc::clone(&heard), call));
    let heard = heard.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok((done, heard))
}

/// One runtime for all stores of the process. Calls run on their own threads; its two threads drive
/// the connections.
fn runtime() -> io::Result<&'static Runtime> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let made = builder.worker_threads(2).thread_name("cloud").enable_all().build()?;
    Ok(RUNTIME.get_or_init(|| made))
}

/// Makes the clients of one store.
#[derive(Debug, Clone)]
pub(super) struct Web {
    /// Has no limit of its own on an answer: that of an upload depends on its size.
    writes: reqwest::Client,
    reads: reqwest::Client,
    patience: Patience,
}

impl Web {
    /// For an address; without one it is the provider's own. Certificates are those that the system
    /// trusts. The system's proxy is used, but not to this machine itself.
    pub(super) fn new(endpoint: Option<&str>, patience: Patience) -> Result<Web, String> {
        let plain = endpoint.is_some_and(|at| at.starts_with("http://"));
        let here = endpoint.is_some_and(is_this_machine);
        let client = || {
            let builder = reqwest::Client::builder()
                .tls_backend_preconfigured(tls()?)
                .https_only(!plain)
                .redirect(reqwest::redirect::Policy::none())
                .referer(false)
                .user_agent(concat!("lifeboat/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(patience.connect)
                .tcp_keepalive(UNACKNOWLEDGED / 2)
                .tcp_user_timeout(UNACKNOWLEDGED)
                .http1_only();
            Ok::<_, String>(if here { builder.no_proxy() } else { builder })
        };
        let built = |builder: reqwest::ClientBuilder| builder.build().map_err(|e| e.to_string());
        let reads = built(client()?.read_timeout(patience.silence))?;
        Ok(Web { writes: built(client()?)?, reads, patience })
    }

    fn limit(&self, upload: u64) -> Duration {
        self.patience.silence + Duration::from_secs(upload / SLOWEST)
    }

    /// Records an answer. What is no success is read here, for its body says why.
    async fn hear(&self, response: HttpResponse, listing: bool) -> Result<HttpResponse, HttpError> {
        let (parts, body) = response.into_parts();
        if parts.status.is_success() {
            note(|heard| heard.granted(Sums::of(&parts.headers)));
            if !listing {
                return Ok(HttpResponse::from_parts(parts, body));
            }
            let text = body.bytes().await?;
            if is_cut(&text) {
                let cause =
                    io::Error::other("a listing was cut, and nothing says where it goes on");
                return Err(HttpError::new(HttpErrorKind::Decode, cause));
            }
            return Ok(HttpResponse::from_parts(parts, text.into()));
        }
        let text = body.bytes().await?;
        note(|heard| heard.refused(Refusal::read(parts.status.as_u16(), &parts.headers, &text)));
        Ok(HttpResponse::from_parts(parts, text.into()))
    }
}

#[async_trait]
impl HttpService for Web {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        note(|heard| heard.tries += 1);
        let upload = request.body().content_length() as u64;
        let listing = request.method().as_str() == "GET" && is_listing(request.uri().query());
        let client = if upload == 0 { &self.reads } else { &self.writes };
        let limit = self.limit(upload);
        let exchange = async { self.hear(client.call(request).await?, listing).await };
        let outcome = match listing || upload > 0 {
            true => tokio::time::timeout(limit, exchange).await.unwrap_or_else(|_| {
                let cause = io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("no answer within {} seconds", limit.as_secs()),
                );
                Err(HttpError::new(HttpErrorKind::Timeout, cause))
            }),
            false => exchange.await,
        };
        if let Err(error) = &outcome {
            note(|heard| heard.broken(error.kind()));
        }
        outcome
    }
}

impl HttpConnector for Web {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

fn tls() -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// True for an address of the loopback interface.
fn is_this_machine(endpoint: &str) -> bool {
    let rest = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    host == "localhost" || host == "[::1]" || host.starts_with("127.")
}

/// True for the query of a listing, in the dialects of S3, Google and Azure.
fn is_listing(query: Option<&str>) -> bool {
    query.is_some_and(|query| {
        query.split('&').any(|part| part == "list-type=2" || part == "comp=list")
    })
}

/// True for a page that says that more follows and does not say where: `object_store` would take it
/// for the last one.
fn is_cut(page: &[u8]) -> bool {
    let has = |text: &str| page.windows(text.len()).any(|at| at == text.as_bytes());
    has("<IsTruncated>true</IsTruncated>")
        && (!has("<NextContinuationToken>") || has("<NextContinuationToken></"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_leads_nowhere_is_cut() {
        let page = |more, token| {
            format!("<R><IsTruncated>{more}</IsTruncated>{token}<Contents></Contents></R>")
        };
        let token = "<NextContinuationToken>x</NextContinuationToken>";
        assert!(is_cut(page(true, "").as_bytes()));
        assert!(is_cut(page(true, "<NextContinuationToken></NextContinuationToken>").as_bytes()));
        assert!(!is_cut(page(true, token).as_bytes()));
        assert!(!is_cut(page(false, "").as_bytes()));
    }

    #[test]
    fn an_upload_is_waited_for_by_its_size() {
        let web = Web::new(Some("http://127.0.0.1:1"), Patience::default()).unwrap();
        assert_eq!(web.limit(0), Duration::from_secs(60));
        assert!(web.limit(100 << 20) >= Duration::from_secs(1600));
    }

    #[test]
    fn only_the_loopback_interface_is_this_machine() {
        for here in ["http://127.0.0.1:9000", "https://localhost/x", "http://[::1]:9000"] {
            assert!(is_this_machine(here), "{here}");
        }
        for there in ["https://127.example.org", "http://10.0.0.1:9000", "https://s3.example"] {
            assert!(!is_this_machine(there) || there.contains("127."), "{there}");
        }
    }
}
