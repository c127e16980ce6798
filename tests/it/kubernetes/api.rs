//! A simulated API server for Jobs and pods, controlled by the test.

use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::StreamExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};

type Body = UnsyncBoxBody<Bytes, Infallible>;
type Line = Result<Frame<Bytes>, Infallible>;

/// Serves until the test's runtime ends.
#[derive(Clone)]
pub(crate) struct FakeApi {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
    jobs: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Value>>>,
    seen: Arc<Notify>,
}

struct State {
    version: u64,
    /// Watches that start before this version get 410.
    oldest: u64,
    pods: BTreeMap<String, Value>,
    /// Events, each with its version.
    history: Vec<(u64, Value)>,
    watches: Vec<mpsc::UnboundedSender<Line>>,
    names: HashSet<String>,
    new_jobs: mpsc::UnboundedSender<Value>,
    job_status: Value,
    requests: Vec<String>,
    /// The impersonation headers of the last request, sorted.
    acted_as: Vec<String>,
    denied: Option<(String, String)>,
    dry_run_refusal: Option<(u16, String)>,
    answers_to_lose: u32,
    seen: Arc<Notify>,
}

impl FakeApi {
    pub(crate) async fn start() -> Self {
        let (new_jobs, jobs) = mpsc::unbounded_channel();
        let seen = Arc::new(Notify::new());
        let state = Arc::new(Mutex::new(State {
            version: 1,
            oldest: 0,
            pods: BTreeMap::new(),
            history: Vec::new(),
            watches: Vec::new(),
            names: HashSet::new(),
            new_jobs,
            job_status: json!({}),
            requests: Vec::new(),
            acted_as: Vec::new(),
            denied: None,
            dry_run_refusal: None,
            answers_to_lose: 0,
            seen: seen.clone(),
        }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = shared.clone();
                let answer = service_fn(move |request| answer(state.clone(), request));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), answer),
                );
            }
        });
        Self {
            url,
            state,
            jobs: Arc::new(tokio::sync::Mutex::new(jobs)),
            seen,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    /// Waits for the next Job that is created.
    pub(crate) async fn next_job(&self) -> Value {
        self.jobs.lock().await.recv().await.unwrap()
    }

    /// Waits until a watch has received the newest event.
    pub(crate) async fn until_seen(&self) {
        self.seen.notified().await;
    }

    pub(crate) fn set_pod(&self, job: &str, status: &Value) {
        let mut state = self.state();
        let kind = if state.pods.contains_key(job) {
            "MODIFIED"
        } else {
            "ADDED"
        };
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "status": status, "metadata": {
            "name": job,
            "labels": {"batch.kubernetes.io/job-name": job},
        }});
        state.pods.insert(job.to_owned(), pod.clone());
        state.happened(kind, pod);
    }

    pub(crate) fn remove_pod(&self, job: &str) {
        let mut state = self.state();
        let pod = state.pods.remove(job).unwrap();
        state.happened("DELETED", pod);
    }

    /// Removes a pod without an event.
    pub(crate) fn remove_pod_unseen(&self, job: &str) {
        self.state().pods.remove(job);
    }

    /// Ends the connections of all watches.
    pub(crate) fn break_watches(&self) {
        self.state().watches.clear();
    }

    /// Drops all events so far.
    pub(crate) fn expire(&self) {
        let mut state = self.state();
        state.version += 10;
        state.oldest = state.version;
        state.history.clear();
    }

    pub(crate) fn set_job_status(&self, status: Value) {
        self.state().job_status = status;
    }

    /// Creates the next `count` Jobs, but closes the connection before the response.
    pub(crate) fn lose_answers(&self, count: u32) {
        self.state().answers_to_lose = count;
    }

    pub(crate) fn deny(&self, verb: &str, resource: &str) {
        self.state().denied = Some((verb.to_owned(), resource.to_owned()));
    }

    pub(crate) fn refuse_dry_runs(&self, status: u16, message: &str) {
        self.state().dry_run_refusal = Some((status, message.to_owned()));
    }

    pub(crate) fn forget_requests(&self) {
        self.state().requests.clear();
    }

    pub(crate) fn acted_as(&self) -> Vec<String> {
        self.state().acted_as.clone()
    }

    pub(crate) fn requests(&self, kind: &str) -> usize {
        let state = self.state();
        state.requests.iter().filter(|found| *found == kind).count()
    }

    pub(crate) fn all_requests(&self) -> usize {
        self.state().requests.len()
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn happened(&mut self, kind: &str, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let event = json!({"type": kind, "object": object});
        self.history.push((self.version, event.clone()));
        self.watches
            .retain(|watch| watch.send(Ok(line(&event))).is_ok());
        if !self.watches.is_empty() {
            self.seen.notify_one();
        }
    }
}

fn line(event: &Value) -> Frame<Bytes> {
    Frame::data(format!("{event}\n").into())
}

/// Returns the kind of a request: `GET jobs`, `WATCH pods` and so on.
fn kind_of(request: &Request<Incoming>) -> String {
    let path = request.uri().path();
    let query = request.uri().query().unwrap_or_default();
    let parts: Vec<&str> = path.split('/').collect();
    let resource = ["jobs", "pods", "events", "selfsubjectaccessreviews"]
        .into_iter()
        .find(|resource| parts.contains(resource))
        .unwrap_or(path);
    let is_list = parts.last() == Some(&resource);
    let verb = match *request.method() {
        Method::GET if query.contains("watch=true") => "WATCH",
        Method::GET if is_list => "LIST",
        Method::GET => "GET",
        Method::POST if query.contains("dryRun") => "TRY",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        _ => "OTHER",
    };
    format!("{verb} {resource}")
}

async fn answer(
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Response<Body>, hyper::Error> {
    let kind = kind_of(&request);
    let query = request.uri().query().unwrap_or_default().to_owned();
    let mut acted_as: Vec<String> = request
        .headers()
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("impersonate-"))
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    acted_as.sort();
    let body = request.into_body().collect().await?.to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut state = locked(&state);
    state.requests.push(kind.clone());
    state.acted_as = acted_as;
    Ok(match kind.as_str() {
        "POST selfsubjectaccessreviews" => {
            let wanted = &body["spec"]["resourceAttributes"];
            let is_denied = state.denied.as_ref().is_some_and(|(verb, resource)| {
                wanted["verb"] == **verb && wanted["resource"] == **resource
            });
            let mut review = body.clone();
            review["status"] = json!({"allowed": !is_denied});
            plain(201, &review)
        }
        "TRY jobs" => match &state.dry_run_refusal {
            Some((code, message)) => refusal(*code, message),
            None => plain(201, &body),
        },
        "POST jobs" => {
            let name = body["metadata"]["name"].as_str().unwrap().to_owned();
            if !state.names.insert(name.clone()) {
                return Ok(refusal(409, "it is there"));
            }
            drop(state.new_jobs.send(body.clone()));
            if state.answers_to_lose > 0 {
                state.answers_to_lose -= 1;
                return Ok(refusal(500, "something broke after the Job was created"));
            }
            plain(201, &body)
        }
        "GET jobs" => plain(
            200,
            &json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}, "status": state.job_status}),
        ),
        "DELETE jobs" => plain(
            200,
            &json!({"apiVersion": "v1", "kind": "Status", "status": "Success"}),
        ),
        "LIST pods" => {
            let items: Vec<&Value> = state.pods.values().collect();
            plain(
                200,
                &json!({"apiVersion": "v1", "kind": "PodList", "items": items,
                    "metadata": {"resourceVersion": state.version.to_string()}}),
            )
        }
        "WATCH pods" => watch(&mut state, &query),
        _ => refusal(404, &format!("{kind} is not played")),
    })
}

fn watch(state: &mut State, query: &str) -> Response<Body> {
    let from: u64 = query
        .split('&')
        .find_map(|part| part.strip_prefix("resourceVersion=")?.parse().ok())
        .unwrap();
    let (sender, receiver) = mpsc::unbounded_channel();
    if from < state.oldest {
        let gone = json!({"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old"});
        drop(sender.send(Ok(line(&json!({"type": "ERROR", "object": gone})))));
    } else {
        for (version, event) in &state.history {
            if *version > from {
                drop(sender.send(Ok(line(event))));
                state.seen.notify_one();
            }
        }
        state.watches.push(sender);
    }
    let lines = futures_util::stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|line| (line, receiver))
    });
    Response::new(BodyExt::boxed_unsync(StreamBody::new(lines.boxed())))
}

fn plain(status: u16, body: &Value) -> Response<Body> {
    let mut response = Response::new(Full::from(body.to_string()).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

fn refusal(code: u16, message: &str) -> Response<Body> {
    let reason = match code {
        409 => "AlreadyExists",
        404 => "NotFound",
        _ => "Other",
    };
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
        "code": code, "reason": reason, "message": message});
    plain(code, &body)
}
