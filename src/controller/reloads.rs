//! Reloads in place: asks the kubelet for the new files, reads what has arrived, and has the server load it.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::context::Context;
use super::exec::{self, Command};
use crate::api::domain::reload::{AuthorizationRef, HttpMethod, HttpScheme};
use crate::api::keys;
use crate::decide::domain::world::{Call, Fact, Place, Step};
use crate::pki::{Chain, PemLimits};
use crate::probes::{Printable, possession};

/// To read a file takes no longer.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// A certificate file with its key is smaller.
const MOST_READ: usize = 128 * 1024;
/// The largest answer to a reload's request that is read.
const MOST_ANSWERED: usize = 64 * 1024;

/// Annotates a pod, so that its kubelet looks at it at once. Without it the files arrive with the kubelet's own sync, a
/// minute or two later: a failure only delays.
pub async fn nudge(context: &Context, namespace: &str, pod: &str, uid: &str, value: &str) -> Fact {
    let api: Api<Pod> = Api::namespaced(context.client.clone(), namespace);
    // Another pod of that name must not be touched.
    let body = json!({"metadata": {"uid": uid, "annotations": {keys::POD_TEMPLATE_FINGERPRINT: value}}});
    let params = PatchParams { field_manager: Some(keys::ROLLOUT_FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    if let Err(error) = api.patch_metadata(pod, &params, &Patch::Merge(&body)).await {
        tracing::debug!(namespace, pod, %error, "the pod could not be annotated");
    }
    Fact::Nudged(uid.to_owned())
}

/// The fingerprint of the certificate in a pod, from the first place that can be read.
pub async fn read(context: &Context, namespace: &str, pod: &str, places: &[Place]) -> Result<String, String> {
    let mut first = None;
    for place in places {
        let command = ["cat".to_owned(), place.path.clone()];
        let (container, command) = (place.container.as_str(), command.as_slice());
        let (timeout, output) = (READ_TIMEOUT, MOST_READ);
        match exec::run(&context.client, Command { namespace, pod, container, command, timeout, output }).await {
            Ok(pem) => {
                // What it holds may be a key as well: nothing of it is said.
                let chain = Chain::from_pem(&pem, &PemLimits::CHAIN);
                return chain
                    .map(|c| c.leaf().fingerprint.to_string())
                    .map_err(|_| format!("{} in container {container} is no certificate in PEM", place.path));
            }
            Err(error @ exec::ExecError::Forbidden(_)) => return Err(error.to_string()),
            Err(error) => first = first.or(Some(error.to_string())),
        }
    }
    Err(format!(
        "whether the certificate has arrived cannot be seen: {}",
        first.unwrap_or_else(|| "it is mounted nowhere".to_owned())
    ))
}

/// Does one step after the other, up to the first that fails.
pub async fn reload(
    context: &Context,
    namespace: &str,
    pod: &str,
    ip: Option<&str>,
    steps: &[Step],
) -> Result<(), String> {
    for step in steps {
        match step {
            Step::Exec { container, command, timeout } => {
                let command = Command { namespace, pod, container, command, timeout: *timeout, output: MOST_READ };
                exec::run(&context.client, command).await.map(drop).map_err(|e| e.to_string())?;
            }
            Step::Http(call) => {
                let authorization = authorization(context, namespace, call.authorization.as_ref()).await?;
                let ip = ip.ok_or("it has no address yet")?;
                request(call, ip, authorization).await?;
            }
        }
    }
    Ok(())
}

async fn authorization(
    context: &Context,
    namespace: &str,
    reference: Option<&AuthorizationRef>,
) -> Result<Option<HeaderValue>, String> {
    let Some(AuthorizationRef { name, key }) = reference else { return Ok(None) };
    let api: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let secret = api.get_opt(name).await.map_err(|e| format!("Secret {name} could not be read: {e}"))?;
    let secret = secret.ok_or_else(|| format!("there is no Secret {name}, which authorizationSecretRef names"))?;
    let value = secret.data.as_ref().and_then(|d| d.get(key));
    let value = value.ok_or_else(|| format!("Secret {name} has no key {key}, which authorizationSecretRef names"))?;
    let mut value = HeaderValue::from_bytes(value.0.trim_ascii())
        .map_err(|_| format!("the value of {key} in Secret {name} is none for a header"))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// Sends a request to a pod.
pub async fn request(call: &Call, ip: &str, authorization: Option<HeaderValue>) -> Result<(), String> {
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    let (scheme, method) = match (call.scheme, call.method) {
        (HttpScheme::Http, method) => ("http", method),
        (HttpScheme::Https, method) => ("https", method),
    };
    let method = match method {
        HttpMethod::Get => Method::GET,
        HttpMethod::Post => Method::POST,
        HttpMethod::Put => Method::PUT,
    };
    let what = format!("{method} {} on port {}", call.path, call.port);
    let failed = |why: &str| format!("{what} failed: {}", Printable::from(why));
    let uri: Uri =
        format!("{scheme}://{host}:{}{}", call.port, call.path).parse().map_err(|_| failed("no valid URL"))?;
    let mut request = Request::new(Full::new(Bytes::from(call.body.clone().unwrap_or_default())));
    (*request.method_mut(), *request.uri_mut()) = (method, uri);
    if call.body.is_some() {
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    request.headers_mut().extend(authorization.map(|value| (AUTHORIZATION, value)));
    let exchange = async {
        // The certificate is the one to be replaced, and may have expired: as the kubelet does, none is asked for a name.
        let tls = possession::client_config(rustls::ALL_VERSIONS).map_err(|e| failed(&e.to_string()))?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new()).build::<_, Full<Bytes>>(connector);
        let answer = client.request(request).await.map_err(|e| failed(&root(&e)))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MOST_ANSWERED).collect().await;
        let body = body.map_err(|_| failed("its answer is too long, or was cut off"))?.to_bytes();
        if !status.is_success() {
            return Err(failed(&format!("it answered {status}")));
        }
        let refused = call.failure_text.as_deref().filter(|text| String::from_utf8_lossy(&body).contains(text));
        refused.map_or(Ok(()), |_| Err(failed("its answer says that it was refused")))
    };
    let late = || failed(&format!("no answer within {} s", call.timeout.as_secs()));
    tokio::time::timeout(call.timeout, exchange).await.unwrap_or_else(|_| Err(late()))
}

/// The innermost error: the system's, or the library's.
fn root(error: &dyn std::error::Error) -> String {
    let mut source = error;
    while let Some(inner) = source.source() {
        source = inner;
    }
    source.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    fn call(port: u16) -> Call {
        Call {
            method: HttpMethod::Post,
            scheme: HttpScheme::Http,
            port,
            path: "/servers?reload-certificate".to_owned(),
            body: Some("{}".to_owned()),
            failure_text: Some("notCreated".to_owned()),
            authorization: None,
            timeout: Duration::from_secs(2),
        }
    }

    /// Sends the request to a server that gives this answer; what came of it, and what the server heard.
    async fn ask(answer: &'static str) -> (Result<(), String>, String, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut heard = vec![0; 4096];
            let n = stream.read(&mut heard).await.unwrap();
            if answer.is_empty() {
                // Nothing is said until the client leaves.
                let _ = stream.read(&mut [0; 16]).await;
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&heard[..n]).into_owned()
        });
        let value = HeaderValue::from_static("Bearer secret");
        let result = request(&call(port), "127.0.0.1", Some(value)).await;
        (result, server.await.unwrap(), port)
    }

    #[tokio::test]
    async fn a_request_is_what_was_asked_for_and_its_answer_is_judged() {
        let (result, heard, port) = ask("HTTP/1.1 204 No Content\r\n\r\n").await;
        assert_eq!(result, Ok(()));
        assert!(heard.starts_with("POST /servers?reload-certificate HTTP/1.1\r\n"), "{heard}");
        let lower = heard.to_lowercase();
        for header in
            ["authorization: bearer secret", "content-type: application/json", &format!("host: 127.0.0.1:{port}")]
        {
            assert!(lower.contains(header), "{heard}");
        }
        let failed =
            |port: u16, why: &str| Err(format!("POST /servers?reload-certificate on port {port} failed: {why}"));
        let (result, _, port) = ask("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(result, failed(port, "it answered 401 Unauthorized"));
        let (result, _, port) = ask("HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{notCreated}").await;
        assert_eq!(result, failed(port, "its answer says that it was refused"));
        let (result, _, port) = ask("").await;
        assert_eq!(result, failed(port, "no answer within 2 s"));
        let (result, _, port) = ask("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nx").await;
        assert_eq!(result, failed(port, "its answer is too long, or was cut off"));
    }

    #[tokio::test]
    async fn nobody_there_is_said() {
        let closed = tokio::net::TcpSocket::new_v4().unwrap();
        closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = closed.local_addr().unwrap().port();
        let why = request(&call(port), "127.0.0.1", None).await.unwrap_err();
        assert!(why.starts_with(&format!("POST /servers?reload-certificate on port {port} failed: ")), "{why}");
        assert!(why.contains("refused"), "{why}");
    }
}
