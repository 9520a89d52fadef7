use super::*;

fn hosts() -> Vec<String> {
    vec![
        "lotest-webhook.lotest-system.svc".into(),
        "127.0.0.1".into(),
    ]
}

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn after(days: i64) -> Timestamp {
    now() + SignedDuration::from_secs(days * DAY)
}

fn kept(data: &Data, at: Timestamp) -> (Pair, Timestamp) {
    match plan(Some(data), &hosts(), at).unwrap() {
        Plan::Keep(pair, next) => (pair, next),
        Plan::Store(_, why) => panic!("{why}"),
    }
}

fn stored(data: &Data, at: Timestamp) -> (Data, String) {
    match plan(Some(data), &hosts(), at).unwrap() {
        Plan::Store(data, why) => (data, why),
        Plan::Keep(..) => panic!("kept"),
    }
}

#[test]
fn what_was_made_is_kept_until_two_thirds_of_its_life() {
    let Plan::Store(data, why) = plan(None, &hosts(), now()).unwrap() else {
        panic!("there is nothing to keep");
    };
    assert_eq!(why, "there are none yet");
    let (pair, next) = kept(&data, now());
    assert_eq!(pair.expires, after(90));
    assert_eq!(pair.trust.as_ref(), data.get(CA_CERTIFICATE));
    assert!(after(59) < next && next < after(60), "{next}");
    // Of a clock that is behind, too.
    kept(&data, now() - SignedDuration::from_secs(60));
    let (renewed, why) = stored(&data, next);
    assert!(why.contains("two thirds"), "{why}");
    assert_eq!(renewed[CA_CERTIFICATE], data[CA_CERTIFICATE]);
    assert_ne!(renewed[CERTIFICATE], data[CERTIFICATE]);
    assert_eq!(kept(&renewed, next).0.expires, next + SERVING_LIFE);
}

#[test]
fn a_ca_is_renewed_while_the_old_one_is_trusted() {
    let mut data = fresh(&hosts(), now()).unwrap();
    let mut changes = 0;
    for day in (0..3650 * 2).step_by(10) {
        let at = after(day);
        let before = data.clone();
        if let Plan::Store(next, why) = plan(Some(&data), &hosts(), at).unwrap() {
            data = next;
            // A client that knows what was trusted before takes what is served now, and the other way round.
            for (trusted, served) in [(&before, &data), (&data, &before)] {
                let trusted = certificates(CA_CERTIFICATE, &trusted[CA_CERTIFICATE]).unwrap();
                let serving = Serving::read(&served[CERTIFICATE], &served[KEY]).unwrap();
                serving
                    .verify(&trusted, &hosts(), at)
                    .unwrap_or_else(|e| panic!("day {day}, {why}: {e}"));
            }
            changes += usize::from(before[CA_KEY] != data[CA_KEY]);
        }
        kept(&data, at);
    }
    assert_eq!(changes, 2, "at two thirds of ten years, twice");
    let certificates = certificates(CA_CERTIFICATE, &data[CA_CERTIFICATE]).unwrap();
    assert_eq!(certificates.len(), 2, "those that have expired are dropped");
}

#[test]
fn what_is_wrong_is_made_again() {
    let good = fresh(&hosts(), now()).unwrap();
    let other = fresh(&hosts(), now()).unwrap();
    let with = |name: &str, value: &[u8]| {
        let mut data = good.clone();
        data.insert(name.into(), value.to_vec());
        data
    };
    let cases = [
        (with(CERTIFICATE, b""), "tls.crt holds no certificate"),
        (
            with(CERTIFICATE, b"-----BEGIN CERTIFICATE-----\n%"),
            "tls.crt",
        ),
        (
            with(CERTIFICATE, &good[CA_CERTIFICATE]),
            "tls.key is not the key of tls.crt",
        ),
        (with(KEY, &other[KEY]), "tls.key is not the key of tls.crt"),
        (with(KEY, b"\xff\xfe"), "tls.key is garbled"),
        (
            with(CA_CERTIFICATE, &other[CA_CERTIFICATE]),
            "ca.key is not the key of ca.crt",
        ),
        (with(CA_CERTIFICATE, b"what"), "ca.crt holds no certificate"),
        (with(CA_KEY, b"what"), "ca.key is garbled"),
        (
            with(CA_KEY, &other[CA_KEY]),
            "ca.key is not the key of ca.crt",
        ),
        (Data::new(), "ca.crt is missing"),
    ];
    for (data, wanted) in cases {
        let (next, why) = stored(&data, now());
        assert!(why.starts_with(wanted), "{why}, not {wanted}");
        kept(&next, now());
    }
    // Both files of another CA: its certificate is signed anew.
    let mut mixed = good.clone();
    for name in [CA_CERTIFICATE, CA_KEY] {
        mixed.insert(name.into(), other[name].clone());
    }
    let (next, why) = stored(&mixed, now());
    assert_eq!(why, "tls.crt is not of ca.crt");
    assert_eq!(next[CA_CERTIFICATE], other[CA_CERTIFICATE]);
    kept(&next, now());
}

#[test]
fn what_has_expired_is_made_again() {
    let data = fresh(&hosts(), now()).unwrap();
    assert_eq!(stored(&data, after(91)).1, "tls.crt has expired");
    let (next, why) = stored(&data, after(4000));
    assert!(why.starts_with("ca.crt is valid from 20"), "{why}");
    assert_ne!(next[CA_KEY], data[CA_KEY]);
    kept(&next, after(4000));
}

#[test]
fn names_of_other_replicas_stay() {
    let mut data = fresh(&["a.other.svc".to_string(), "10.0.0.1".to_string()], now()).unwrap();
    data.get_mut(HOSTS).unwrap().extend(b"\n*\nno name\n\xff");
    let (next, why) = stored(&data, now());
    assert_eq!(why, "tls.crt is not for lotest-webhook.lotest-system.svc");
    kept(&next, now());
    assert!(matches!(
        plan(
            Some(&next),
            &["a.other.svc".into(), "10.0.0.1".into()],
            now()
        )
        .unwrap(),
        Plan::Keep(..)
    ));
}

#[test]
fn given_certificates_are_taken_as_they_are() {
    let data = fresh(&hosts(), now()).unwrap();
    let trust = Some(data[CA_CERTIFICATE].clone());
    let pair = given(&data[CERTIFICATE], &data[KEY], trust, after(80)).unwrap();
    assert_eq!(pair.expires, after(90));
    let refused = |result: Result<Pair, String>| result.err().unwrap();
    let expired = refused(given(&data[CERTIFICATE], &data[KEY], None, after(90)));
    assert!(expired.starts_with("tls.crt has expired"), "{expired}");
    let garbled = refused(given(
        &data[CERTIFICATE],
        &data[KEY],
        Some(b"x".to_vec()),
        now(),
    ));
    assert_eq!(garbled, "ca.crt holds no certificate");
}
