//! A real Kubernetes control plane, node, ACME server and mail server for mailcert's tests and demo.
