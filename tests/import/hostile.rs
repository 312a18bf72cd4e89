//! Input that was made to do harm: nothing panics, and nothing takes long. How long, `make bench-import` says.

use std::time::Duration;

use mailcert::pki::import::{Format, Limits};

use crate::worst::{Inputs, cases, corpus, import, worked};

/// What one input may take of this thread's time on a processor. An unoptimised build gets more.
const MOST: Duration = if cfg!(debug_assertions) { Duration::from_secs(5) } else { Duration::from_millis(100) };

fn take(what: &str, inputs: &Inputs) {
    let mut fastest = Duration::MAX;
    for _ in 0..3 {
        let start = worked();
        for format in [Format::Auto, Format::Pem, Format::Pkcs12] {
            import(inputs, format);
        }
        fastest = fastest.min(worked() - start);
        if fastest < MOST {
            return;
        }
    }
    panic!("{what} takes {fastest:?}; at most {MOST:?} is allowed");
}

#[test]
fn the_corpus_of_the_fuzzers_does_no_harm() {
    let corpus = corpus();
    for (name, inputs) in &corpus {
        take(name, inputs);
        // And what a transfer makes of it: cut off, and with a bit turned.
        let bytes = &inputs[0].1;
        for cut in (0..bytes.len()).step_by(bytes.len() / 16 + 1) {
            take("a part", &vec![("tls.crt", bytes[..cut].to_vec())]);
            let mut turned = bytes.clone();
            turned[cut] ^= 0x20;
            take("a damaged file", &vec![("tls.crt", turned)]);
        }
    }
    assert!(corpus.len() >= 20, "only {} files in fuzz/corpus", corpus.len());
}

#[test]
fn the_largest_inputs_take_no_longer() {
    for (what, inputs) in &cases() {
        assert!(inputs.iter().all(|(_, bytes)| bytes.len() <= Limits::default().pkcs12), "{what} is too large");
        take(what, inputs);
    }
}
