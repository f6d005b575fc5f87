//! The cluster's name server, as far as the tests need one.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use tokio::task::JoinHandle;

/// Names, with their final dot, and their addresses. An entry without any makes the server fail.
#[derive(Clone, Default)]
pub(crate) struct Zone(Arc<Mutex<HashMap<String, Vec<IpAddr>>>>);

impl Zone {
    pub(crate) fn set(&self, name: &str, addresses: &[IpAddr]) {
        let mut zone = self.0.lock().unwrap();
        zone.insert(format!("{name}."), addresses.to_vec());
    }
}

/// A name server that is bound.
pub(crate) struct NameServer {
    socket: Option<UdpSocket>,
    task: Option<JoinHandle<()>>,
}

impl NameServer {
    pub(crate) fn bind(address: SocketAddr) -> Self {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self {
            socket: Some(socket),
            task: None,
        }
    }

    pub(crate) fn serve(mut self, zone: Zone) -> Self {
        let socket = tokio::net::UdpSocket::from_std(self.socket.take().unwrap()).unwrap();
        #[expect(
            clippy::disallowed_methods,
            reason = "aborted when the value is dropped"
        )]
        let task = tokio::spawn(async move {
            let mut buffer = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let reply = answer(&zone, &buffer[..length]);
                // Who asked may be gone.
                let _gone = socket.send_to(&reply, from).await;
            }
        });
        self.task = Some(task);
        self
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

fn answer(zone: &Zone, question: &[u8]) -> Vec<u8> {
    let question = Message::from_vec(question).unwrap();
    let query = question.queries[0].clone();
    let name = query.name().to_string().to_ascii_lowercase();
    let mut reply = Message::response(question.metadata.id, OpCode::Query);
    match zone.0.lock().unwrap().get(&name) {
        None => reply.metadata.response_code = ResponseCode::NXDomain,
        Some(none) if none.is_empty() => reply.metadata.response_code = ResponseCode::ServFail,
        Some(addresses) => {
            let wanted = query.query_type() == RecordType::AAAA;
            for ip in addresses.iter().filter(|ip| ip.is_ipv6() == wanted) {
                reply.add_answer(Record::from_rdata(
                    query.name().clone(),
                    1,
                    RData::from(*ip),
                ));
            }
        }
    }
    reply.queries.push(query);
    reply.to_vec().unwrap()
}
