//! A DNS server that answers as a test tells it to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::{Name, RData, Record};
use mailcert::dns::{Dns, Settings};
use mailcert_testenv::{Port, claim_port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// How a query came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    Udp,
    Tcp,
}

/// What to send for a query, packet by packet.
type Script = dyn Fn(&Message, Via) -> Vec<Vec<u8>> + Send + Sync;

pub struct Server {
    pub address: SocketAddr,
    queries: Arc<AtomicUsize>,
    _port: Port,
}

impl Server {
    /// Serves on UDP and TCP until the test's runtime ends.
    pub async fn start(script: impl Fn(&Message, Via) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        let port = claim_port().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port.number));
        let script: Arc<Script> = Arc::new(script);
        let queries = Arc::new(AtomicUsize::new(0));
        let udp = UdpSocket::bind(address).await.unwrap();
        let tcp = TcpListener::bind(address).await.unwrap();
        tokio::spawn(over_udp(udp, script.clone(), queries.clone()));
        let counted = queries.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = tcp.accept().await {
                tokio::spawn(over_tcp(stream, script.clone(), counted.clone()));
            }
        });
        Self { address, queries, _port: port }
    }

    /// One that answers every query with the same records and code.
    pub async fn answering(reply: impl Fn(&Message) -> Message + Send + Sync + 'static) -> Self {
        Self::start(move |query, _| vec![reply(query).to_vec().unwrap()]).await
    }

    /// How many queries have come.
    pub fn queries(&self) -> usize {
        self.queries.load(Ordering::SeqCst)
    }

    /// A client that asks only this server, with little patience.
    pub fn dns(&self) -> Dns {
        Dns::new(&self.settings()).unwrap()
    }

    pub fn settings(&self) -> Settings {
        Settings {
            resolvers: vec![self.address],
            recursive_only: true,
            timeout: Duration::from_millis(600),
            total: Duration::from_secs(4),
            ..Settings::default()
        }
    }
}

async fn over_udp(socket: UdpSocket, script: Arc<Script>, queries: Arc<AtomicUsize>) {
    let mut buffer = vec![0; 4096];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let query = Message::from_vec(&buffer[..length]).unwrap();
        queries.fetch_add(1, Ordering::SeqCst);
        for packet in script(&query, Via::Udp) {
            let _ = socket.send_to(&packet, from).await;
        }
    }
}

async fn over_tcp(mut stream: TcpStream, script: Arc<Script>, queries: Arc<AtomicUsize>) {
    while let Ok(length) = stream.read_u16().await {
        let mut buffer = vec![0; usize::from(length)];
        if stream.read_exact(&mut buffer).await.is_err() {
            return;
        }
        let query = Message::from_vec(&buffer).unwrap();
        queries.fetch_add(1, Ordering::SeqCst);
        for packet in script(&query, Via::Tcp) {
            let _ = stream.write_u16(u16::try_from(packet.len()).unwrap()).await;
            let _ = stream.write_all(&packet).await;
        }
    }
}

/// An answer without records.
pub fn reply(query: &Message) -> Message {
    let mut message = query.clone();
    message.metadata.message_type = MessageType::Response;
    message.edns = None;
    message
}

pub fn with_code(query: &Message, code: ResponseCode) -> Message {
    let mut message = reply(query);
    message.metadata.response_code = code;
    message
}

pub fn with_answers(query: &Message, answers: Vec<Record>) -> Message {
    let mut message = reply(query);
    message.insert_answers(answers);
    message
}

pub fn name(text: &str) -> Name {
    Name::from_ascii(format!("{text}.")).unwrap()
}

pub fn record(owner: &str, data: RData) -> Record {
    Record::from_rdata(name(owner), 1, data)
}
