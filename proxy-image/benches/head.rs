//! How fast the heads of usual messages are read and written anew.
//! `cargo bench -p mtls-proxy --bench head`

use divan::Bencher;
use divan::counter::BytesCount;
use mtls_proxy::measured::{forward_request, forward_response};

fn main() {
    divan::main();
}

const REQUEST: &[u8] = b"GET /1k HTTP/1.1\r\nHost: server.example\r\n\r\n";
const BROWSER: &[u8] = b"GET /catalogue/articles?page=2 HTTP/1.1\r\nHost: shop.example\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\n\
    Connection: keep-alive\r\nCookie: session=0123456789abcdef0123456789abcdef\r\n\
    traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\
    X-Forwarded-Client-Cert: Hash=spoof\r\nX-Request-Id: 6f1c2a7e\r\n\r\n";
const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Wed, 25 Nov 2026 10:00:00 GMT\r\n\
    Content-Type: application/octet-stream\r\nContent-Length: 1024\r\n\
    Last-Modified: Wed, 25 Nov 2026 09:00:00 GMT\r\nConnection: keep-alive\r\n\
    ETag: \"6745a1b0-400\"\r\nAccept-Ranges: bytes\r\n\r\n";

#[divan::bench(args = [REQUEST, BROWSER])]
fn request(bencher: Bencher<'_, '_>, head: &[u8]) {
    forwarded(bencher, head, forward_request);
}

#[divan::bench]
fn response(bencher: Bencher<'_, '_>) {
    forwarded(bencher, RESPONSE, forward_response);
}

fn forwarded(bencher: Bencher<'_, '_>, head: &[u8], forward: fn(&[u8], &mut Vec<u8>) -> bool) {
    let counted = bencher.counter(BytesCount::new(head.len()));
    counted.bench_local(|| {
        let mut out = Vec::with_capacity(head.len());
        assert!(forward(divan::black_box(head), &mut out));
        out
    });
}
