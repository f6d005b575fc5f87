//! Peers that do exactly what a test wants, byte by byte.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::harness::{PATIENCE, local};

/// Listens, and serves each connection with `serve`.
pub(crate) async fn listen<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let socket = TcpListener::bind(local(0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    let mut connections = tokio::task::JoinSet::new();
    let mut servers = tokio::task::JoinSet::new();
    servers.spawn(async move {
        while let Ok((tcp, _)) = socket.accept().await {
            connections.spawn(serve(tcp));
        }
    });
    servers.detach_all();
    address
}

/// Reads a request's head, up to its empty line.
pub(crate) async fn read_head(tcp: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match tcp.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// An upstream that answers at once, but `/long` only when it is let.
pub(crate) struct Patient {
    pub(crate) address: SocketAddr,
    asked: Arc<Notify>,
    may_answer: Arc<Notify>,
}

impl Patient {
    pub(crate) async fn start() -> Self {
        let (asked, may_answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (ask, wait) = (Arc::clone(&asked), Arc::clone(&may_answer));
        let address = listen(move |tcp| Self::serve(tcp, Arc::clone(&ask), Arc::clone(&wait)));
        Self {
            address: address.await,
            asked,
            may_answer,
        }
    }

    /// Waits until `/long` is asked for.
    pub(crate) async fn asked(&self) {
        let asked = tokio::time::timeout(PATIENCE, self.asked.notified());
        asked.await.expect("/long is asked for in time");
    }

    /// Lets `/long` be answered: `done`.
    pub(crate) fn answer(&self) {
        self.may_answer.notify_one();
    }

    async fn serve(mut tcp: TcpStream, asked: Arc<Notify>, may_answer: Arc<Notify>) {
        loop {
            let head = read_head(&mut tcp).await;
            let answer: &[u8] = if head.is_empty() {
                return;
            } else if head.starts_with("GET /long ") {
                asked.notify_one();
                may_answer.notified().await;
                b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone"
            } else {
                b"HTTP/1.1 204 No Content\r\n\r\n"
            };
            tcp.write_all(answer).await.unwrap();
        }
    }
}

/// An upstream that answers every request with its head as the body, and remembers the heads.
pub(crate) async fn echo_heads() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let remembered = Arc::clone(&heads);
    let address = listen(move |mut tcp| {
        let heads = Arc::clone(&remembered);
        async move {
            loop {
                let head = read_head(&mut tcp).await;
                if head.is_empty() {
                    return;
                }
                let length = head.len();
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{head}");
                heads.lock().unwrap().push(head);
                if tcp.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    (address, heads)
}

/// An upstream that sends back what it gets.
pub(crate) async fn echo() -> SocketAddr {
    listen(|mut tcp| async move {
        let (mut read, mut write) = tcp.split();
        let _reset = tokio::io::copy(&mut read, &mut write).await;
    })
    .await
}
