//! How fast bytes are relayed between two connections, by the size of what is written at once.
//! `cargo bench -p mtls-proxy --bench relay`

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]

use divan::Bencher;
use divan::counter::BytesCount;
use mtls_proxy::measured;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

fn main() {
    divan::main();
}

const MUCH: usize = 4 * 1024 * 1024;

/// The same number of bytes in pieces of a KiB, of a record of TLS, and of a buffer.
#[divan::bench(args = [1, 16, 64])]
fn pieces_of_kibibytes(bencher: Bencher<'_, '_>, size: usize) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let piece = vec![7; size * 1024];
    let counted = bencher.counter(BytesCount::new(MUCH));
    counted.bench_local(|| relay(&runtime, &piece));
}

fn relay(runtime: &Runtime, piece: &[u8]) {
    runtime.block_on(async {
        let (mut client, mut near) = connection().await;
        let (mut far, mut server) = connection().await;
        let sender = async {
            for _ in 0..MUCH / piece.len() {
                client.write_all(piece).await.unwrap();
            }
            client.shutdown().await.unwrap();
        };
        let receiver = async {
            let mut received = Vec::with_capacity(MUCH);
            server.read_to_end(&mut received).await.unwrap();
            assert_eq!(received.len(), MUCH);
            server.shutdown().await.unwrap();
        };
        let relayed = async { measured::relay(&mut near, &mut far).await.unwrap() };
        tokio::join!(sender, receiver, relayed);
    });
}

async fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (dialled, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    (dialled.unwrap(), accepted.unwrap().0)
}
