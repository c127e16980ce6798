use std::io::Read as _;

use super::*;

const LOOPBACK: &str = "127.0.0.1:0";

async fn server() -> InputServer {
    InputServer::start(LOOPBACK.parse().unwrap(), None, None)
        .await
        .unwrap()
}

fn client() -> reqwest::Client {
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder().no_proxy().build().unwrap()
}

#[tokio::test]
async fn inputs_are_given_to_whoever_has_a_job_s_token() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive");
    crate::fs::write(&path, "content").unwrap();
    let digest = Sha256::of("content");
    let server = server().await;
    server.offer(digest, &path);
    let (job, _result) = server.expect("one", folder.path()).unwrap();
    let (other, _result) = server.expect("two", folder.path()).unwrap();
    assert_ne!(job.token, other.token);
    let client = client();
    let get = |token: &str, digest: Sha256| {
        client
            .get(format!("{}/inputs/{digest}", job.url))
            .bearer_auth(token)
            .send()
    };
    let answer = get(&job.token, digest).await.unwrap();
    assert_eq!(answer.content_length(), Some(7));
    assert_eq!(answer.text().await.unwrap(), "content");
    assert_eq!(get(&other.token, digest).await.unwrap().status(), 403);
    assert_eq!(get("", digest).await.unwrap().status(), 403);
    let unknown = get(&job.token, Sha256::of("x")).await.unwrap();
    assert_eq!(unknown.status(), 404);
    // The token of a job that has ended is invalid.
    let (url, token) = (job.url.clone(), job.token.clone());
    drop(job);
    let late = client
        .get(format!("{url}/inputs/{digest}"))
        .bearer_auth(token);
    assert_eq!(late.send().await.unwrap().status(), 403);
}

#[tokio::test]
async fn a_result_is_taken_once_and_only_when_it_is_what_its_digest_says() {
    let folder = tempfile::tempdir().unwrap();
    let server = server().await;
    let (job, mut result) = server.expect("one", folder.path()).unwrap();
    let client = client();
    let put = |token: &str, digest: Sha256, body: &'static str| {
        client
            .put(format!("{}/result/{digest}", job.url))
            .bearer_auth(token)
            .body(body)
            .send()
    };
    let good = Sha256::of("result");
    let statuses = [
        put("wrong", good, "result").await.unwrap().status(),
        put(&job.token, good, "resul").await.unwrap().status(),
        put(&job.token, good, "result").await.unwrap().status(),
        // Sent again, since the response was lost.
        put(&job.token, good, "result").await.unwrap().status(),
    ];
    assert_eq!(statuses.map(|status| status.as_u16()), [403, 422, 204, 204]);
    let mut file = (&mut result).await.unwrap().unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "result");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = server().await;
    let (job, _result) = server.expect("one", folder.path()).unwrap();
    let client = client();
    let base = server.base();
    for (path, status) in [
        ("", 404),
        ("/one", 404),
        ("/one/inputs/../../etc/passwd", 404),
        ("/one/inputs/x", 404),
        ("/one/other/x", 404),
    ] {
        let request = client.get(format!("{base}{path}")).bearer_auth(&job.token);
        assert_eq!(request.send().await.unwrap().status(), status, "{path}");
    }
    let request = client.post(format!("{}/result/{}", job.url, Sha256::of("x")));
    let answer = request.bearer_auth(&job.token).send().await.unwrap();
    assert_eq!(answer.status(), 405);
}

#[test]
fn pods_are_told_the_address_that_a_person_gives() {
    let bound: SocketAddr = "10.0.0.1:99".parse().unwrap();
    for (address, told) in [
        (None, "10.0.0.1:99"),
        (Some("builder.example"), "builder.example:99"),
        (Some("builder.example:80"), "builder.example:80"),
        (Some("192.0.2.1"), "192.0.2.1:99"),
        (Some("2001:db8::1"), "[2001:db8::1]:99"),
        (Some("[2001:db8::1]:80"), "[2001:db8::1]:80"),
    ] {
        assert_eq!(advertised(bound, address), told);
    }
}
