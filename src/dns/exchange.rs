//! One question to one server.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use hickory_net::runtime::TokioRuntimeProvider;
use hickory_net::tcp::TcpClientStream;
use hickory_net::udp::UdpClientStream;
use hickory_net::xfer::{DnsRequestSender, FirstAnswer};
use hickory_net::{DnsMultiplexer, NetError};
use hickory_proto::op::{
    DnsRequest, DnsRequestOptions, DnsResponse, Edns, Message, MessageType, OpCode, Query, ResponseCode,
};
use hickory_proto::rr::{Name, RecordType};
use tokio::time::timeout;

use crate::probes::Printable;

/// The largest answer over UDP, in bytes: what passes every network in one piece (RFC 9715).
const UDP_MAX: u16 = 1232;

/// How a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// Why a server's answer is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nothing came in time.
    Silent(Duration),
    /// The message could not be sent, or the connection ended.
    Unreachable(String),
    /// What came is not an answer to the question.
    Malformed(String),
    /// The server says that it cannot or will not answer.
    Code(ResponseCode),
}

impl Trouble {
    /// Whether it may pass by itself.
    pub(crate) fn passes(&self) -> bool {
        !matches!(self, Self::Code(ResponseCode::Refused | ResponseCode::NotImp | ResponseCode::NotAuth))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent(limit) => write!(f, "no answer within {}", span(*limit)),
            Self::Unreachable(why) => write!(f, "not reachable ({why})"),
            Self::Malformed(why) => write!(f, "a malformed answer ({why})"),
            Self::Code(ResponseCode::ServFail) => f.write_str("SERVFAIL"),
            Self::Code(ResponseCode::Refused) => f.write_str("REFUSED"),
            Self::Code(ResponseCode::NXDomain) => f.write_str("NXDOMAIN"),
            Self::Code(code) => write!(f, "{code} (response code {})", u16::from(*code)),
        }
    }
}

/// A duration as people write it: `10 s`, `300 ms`.
pub(super) fn span(time: Duration) -> String {
    match time.subsec_millis() {
        0 if time.as_secs() > 0 => format!("{} s", time.as_secs()),
        _ => format!("{} ms", time.as_millis()),
    }
}

/// How a question is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Manner {
    /// Of a server that asks others.
    pub recursive: bool,
    /// Of one that hands on what it cannot validate, too: it is validated here.
    pub unchecked: bool,
    /// With signatures (RFC 4035 section 3.2.1).
    pub signed: bool,
}

/// Asks `server` one question, over UDP and, when the answer does not fit, over TCP. Any response code comes back as
/// it is; what is not an answer to this question does not.
pub(super) async fn ask(
    server: SocketAddr,
    name: &Name,
    kind: RecordType,
    manner: Manner,
    limit: Duration,
) -> Result<Message, Trouble> {
    let question = Query::query(name.clone(), kind);
    let (mut transport, mut extended) = (Transport::Udp, true);
    loop {
        let mut message = Message::query();
        message.add_query(question.clone());
        message.metadata.recursion_desired = manner.recursive;
        message.metadata.checking_disabled = manner.unchecked;
        if extended {
            let mut edns = Edns::new();
            edns.set_max_payload(UDP_MAX);
            edns.set_dnssec_ok(manner.signed);
            message.set_edns(edns);
        }
        let message = transact(server, transport, message, limit).await?.into_message();
        check(&message, &question)?;
        let code = message.metadata.response_code;
        if extended && matches!(code, ResponseCode::FormErr | ResponseCode::NotImp) {
            // It may be too old for extensions (RFC 6891 section 6.2.2).
            extended = false;
        } else if !message.metadata.truncation {
            return Ok(message);
        } else if transport == Transport::Udp {
            transport = Transport::Tcp;
        } else {
            return Err(Trouble::Malformed("it is cut off, over TCP too".into()));
        }
    }
}

fn check(message: &Message, question: &Query) -> Result<(), Trouble> {
    let is_answer = message.metadata.message_type == MessageType::Response && message.metadata.op_code == OpCode::Query;
    if !is_answer {
        return Err(Trouble::Malformed("it is not an answer".into()));
    }
    match message.queries.as_slice() {
        [asked] if asked == question => Ok(()),
        // A server that cannot read a question need not repeat it (RFC 1035 section 4.1.1).
        [] if message.metadata.response_code != ResponseCode::NoError => Ok(()),
        _ => Err(Trouble::Malformed("it is about another question".into())),
    }
}

/// Sends `message` as it is and waits for the answer to it; over UDP it is sent up to three times. Answers to other
/// messages, which have another id, are passed over.
pub(crate) async fn transact(
    server: SocketAddr,
    transport: Transport,
    message: Message,
    limit: Duration,
) -> Result<DnsResponse, Trouble> {
    let mut options = DnsRequestOptions::default();
    options.retry_interval = limit / 3;
    let request = DnsRequest::new(message, options);
    let exchange = async {
        match transport {
            Transport::Udp => over_udp(server, request, limit).await,
            Transport::Tcp => over_tcp(server, request, limit).await,
        }
    };
    // The library has timeouts of its own, for parts of this; the bound on the whole is here.
    match timeout(limit, exchange).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => Err(trouble(&error, limit)),
        Err(_) => Err(Trouble::Silent(limit)),
    }
}

async fn over_udp(server: SocketAddr, request: DnsRequest, limit: Duration) -> Result<DnsResponse, NetError> {
    let stream = UdpClientStream::builder(server, TokioRuntimeProvider::new());
    let mut stream = stream.with_timeout(Some(limit)).with_os_port_selection(true).build();
    stream.send_message(request).first_answer().await
}

async fn over_tcp(server: SocketAddr, request: DnsRequest, limit: Duration) -> Result<DnsResponse, NetError> {
    let (connecting, sender) = TcpClientStream::new(server, None, Some(limit), TokioRuntimeProvider::new());
    let mut connection = DnsMultiplexer::new(connecting.await?, sender).with_timeout(limit);
    let mut answer = connection.send_message(request).first_answer();
    loop {
        tokio::select! {
            biased;
            answer = &mut answer => return answer,
            // Drives the connection; when that ends, the answer is what it ended with.
            step = connection.next() => if step.is_none() { return answer.await },
        }
    }
}

fn trouble(error: &NetError, limit: Duration) -> Trouble {
    let shown = |text: &str| Printable::from(text).to_string();
    match error {
        NetError::Timeout => Trouble::Silent(limit),
        NetError::Io(error) if error.kind() == io::ErrorKind::TimedOut => Trouble::Silent(limit),
        NetError::Io(error) => Trouble::Unreachable(shown(&error.to_string())),
        NetError::Proto(error) => Trouble::Malformed(shown(&error.to_string())),
        other => Trouble::Unreachable(shown(&other.to_string())),
    }
}
