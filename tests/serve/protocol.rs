//! What is not a review gets an HTTP error with one line that says why; nothing gets a panic.

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{self, Client, Version, post};
use crate::program::Program;
use crate::reviews::{answer_of_the_core, one};

const JSON: &str = "application/json";

fn article() -> Value {
    serde_json::from_slice(&one("deployment-article.json")).unwrap()
}

fn changed(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut review = article();
    change(&mut review);
    review.to_string().into_bytes()
}

struct Refused {
    name: &'static str,
    request: Request<Full<Bytes>>,
    status: u16,
    text: &'static str,
}

fn refused() -> Vec<Refused> {
    let row = |name, request, status, text| Refused {
        name,
        request,
        status,
        text,
    };
    let unreadable = |name, body: Vec<u8>| {
        row(
            name,
            post(JSON, body),
            400,
            "the body is not an AdmissionReview: ",
        )
    };
    let untyped = Request::post("https://localhost/mutate").header("host", "localhost");
    let untyped = untyped.body(Full::new(Bytes::from("{}"))).unwrap();
    let get = Request::get("https://localhost/mutate").header("host", "localhost");
    let get = get.body(Full::default()).unwrap();
    let json = "the content type must be application/json";
    vec![
        unreadable("no request", changed(|review| remove(review, "request"))),
        unreadable(
            "no uid",
            changed(|review| remove(&mut review["request"], "uid")),
        ),
        unreadable(
            "wrong kind",
            changed(|review| review["kind"] = "Pod".into()),
        ),
        unreadable(
            "wrong version",
            changed(|review| review["apiVersion"] = "v1".into()),
        ),
        unreadable("truncated", one("deployment-article.json")[..2000].to_vec()),
        unreadable("empty", Vec::new()),
        unreadable("no object", b"[]".to_vec()),
        unreadable("not UTF-8", vec![0xff, 0xfe]),
        row(
            "9 MiB",
            post(JSON, vec![b' '; 9 << 20]),
            413,
            "the body is longer than 8 MiB",
        ),
        row("GET", get, 405, ""),
        row("YAML", post("application/yaml", "{}"), 415, json),
        row("no content type", untyped, 415, json),
    ]
}

fn remove(object: &mut Value, field: &str) {
    assert!(object.as_object_mut().unwrap().remove(field).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_a_review_is_refused_with_a_reason() {
    let program = Program::start();
    for version in [Version::Http1, Version::Http2] {
        for Refused {
            name,
            request,
            status,
            text,
        } in refused()
        {
            let mut client = Client::connect(&program, version).await.unwrap();
            let answer = client.send(request).await.unwrap();
            assert_eq!(answer.status, status, "{name}, {version:?}");
            let body = String::from_utf8(answer.body.to_vec()).unwrap();
            assert!(body.starts_with(text), "{name}: {body}");
            assert!(body.lines().count() <= 1, "{name}: {body}");
        }
        works(&program, version).await;
    }
    let panics = program.log().into_iter().filter(|line| line.is_string());
    assert_eq!(panics.count(), 0);
}

async fn works(program: &Program, version: Version) {
    let review = one("deployment-article.json");
    let mut client = Client::connect(program, version).await.unwrap();
    let answer = client.review(review.clone()).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(answer, answer_of_the_core(&review));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_path_is_not_found() {
    let program = Program::start();
    let mut client = Client::connect(&program, Version::Http2).await.unwrap();
    let request = Request::post("https://localhost/validate").body(Full::default());
    let answer = client.send(request.unwrap()).await.unwrap();
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_of_the_content_type_do_not_matter() {
    let program = Program::start();
    let mut client = Client::connect(&program, Version::Http1).await.unwrap();
    let request = post("Application/JSON; charset=utf-8", one("pod-bare-name.json"));
    assert_eq!(client.send(request).await.unwrap().status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_of_three_megabytes_is_answered() {
    let program = Program::start();
    let review = changed(|review| {
        let variables = (0..30_000)
            .map(|number| json!({ "name": format!("SETTING_{number}"), "value": "x".repeat(70) }));
        review["request"]["object"]["spec"]["containers"][0]["env"] = variables.collect();
    });
    assert!(review.len() > 3_000_000, "{}", review.len());
    for version in [Version::Http1, Version::Http2] {
        let mut client = Client::connect(&program, version).await.unwrap();
        let answer = client.review(review.clone()).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK);
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(answer, answer_of_the_core(&review));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_given_up_after_five_seconds() {
    let program = Program::start();
    let mut stream = client::tls(&program, Version::Http1).await.unwrap();
    let head = "POST /mutate HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                content-length: 100\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(String::from_utf8(answer).unwrap(), "HTTP/1.1 408");
    works(&program, Version::Http1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_costs_nothing() {
    let program = Program::start();
    let mut stream = client::tls(&program, Version::Http1).await.unwrap();
    let head = "POST /mutate HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                content-length: 100\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    program.wait_for_metric("mtls_injector_connections 1");
    drop(stream);
    program.wait_for_metric("mtls_injector_connections 0");
    works(&program, Version::Http1).await;
}
