//! A DNS server on 127.0.0.1:53 whose zone a test changes while it serves.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::rdata::SOA;
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// What is said about a name. Others do not exist.
#[derive(Clone, Copy)]
pub(super) enum Answer {
    /// These addresses, for so many seconds.
    Addresses(&'static [&'static str], u32),
    ServerFailure,
    Silence,
}

#[derive(Default)]
struct Zone {
    answers: HashMap<&'static str, Answer>,
    asked: Vec<String>,
}

/// The server, which ends with the value.
pub(super) struct NameServer {
    zone: Arc<Mutex<Zone>>,
    _task: JoinSet<()>,
}

impl NameServer {
    pub(super) async fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 53)).await.unwrap();
        let zone: Arc<Mutex<Zone>> = Arc::default();
        let mut task = JoinSet::new();
        task.spawn(serve(socket, Arc::clone(&zone)));
        Self { zone, _task: task }
    }

    pub(super) fn set(&self, name: &'static str, answer: Answer) {
        self.zone.lock().unwrap().answers.insert(name, answer);
    }

    pub(super) fn times_asked(&self, name: &str) -> usize {
        let zone = self.zone.lock().unwrap();
        zone.asked.iter().filter(|asked| *asked == name).count()
    }
}

async fn serve(socket: UdpSocket, zone: Arc<Mutex<Zone>>) {
    let mut buffer = [0; 1500];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let question = Message::from_vec(&buffer[..length]).unwrap();
        let query = question.queries[0].clone();
        let name = query.name().to_string();
        let answer = {
            let mut zone = zone.lock().unwrap();
            let answer = zone.answers.get(name.as_str()).copied();
            zone.asked.push(name);
            answer
        };
        if let Some(reply) = reply(question.metadata.id, query, answer) {
            socket.send_to(&reply, from).await.unwrap();
        }
    }
}

fn reply(id: u16, query: Query, answer: Option<Answer>) -> Option<Vec<u8>> {
    let mut reply = Message::response(id, OpCode::Query);
    match answer {
        Some(Answer::Silence) => return None,
        Some(Answer::ServerFailure) => reply.metadata.response_code = ResponseCode::ServFail,
        Some(Answer::Addresses(addresses, ttl)) => {
            let addresses = addresses.iter().map(|text| text.parse::<IpAddr>().unwrap());
            let wanted = query.query_type() == RecordType::AAAA;
            for ip in addresses.filter(|ip| ip.is_ipv6() == wanted) {
                let record = Record::from_rdata(query.name().clone(), ttl, RData::from(ip));
                reply.add_answer(record);
            }
            // How long it counts that there is none (RFC 2308).
            if reply.answers.is_empty() {
                let name = query.name().clone();
                let soa = SOA::new(name.clone(), name.clone(), 1, 60, 60, 60, ttl);
                reply.add_authority(Record::from_rdata(name, ttl, RData::SOA(soa)));
            }
        }
        None => reply.metadata.response_code = ResponseCode::NXDomain,
    }
    reply.queries.push(query);
    Some(reply.to_vec().unwrap())
}
