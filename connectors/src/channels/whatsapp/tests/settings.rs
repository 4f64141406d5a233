//! A channel starts with everything that it needs, or not at all.

use super::*;

fn built(settings: &Settings) -> Result<Option<Box<dyn Channel>>, String> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    build(settings, &GraphSettings::default())
}

fn refusal(change: impl FnOnce(&mut Settings)) -> String {
    let mut settings = settings();
    change(&mut settings);
    match built(&settings) {
        Err(sentence) => sentence,
        Ok(_) => panic!("the settings were taken"),
    }
}

#[test]
fn without_accounts_there_is_no_channel() {
    assert!(built(&Settings::default()).unwrap().is_none());
    let channel = built(&settings()).unwrap().unwrap();
    let accounts = channel.accounts();
    assert_eq!(accounts.len(), 2);
    assert_eq!(accounts[0].name, "first");
    assert_eq!(accounts[0].channel.to_string(), "whatsapp:305000000000201");
    assert_eq!(accounts[0].capabilities.window_ms, Some(86_400_000));
    assert_eq!(accounts[0].capabilities.text_chars_max, 4096);
    assert!(channel.pace(FIRST).account_per_second > 79.0);
}

#[test]
fn what_is_missing_is_named() {
    let first = |settings: &mut Settings, change: &dyn Fn(&mut Account)| {
        change(settings.accounts.get_mut("first").unwrap());
    };
    assert!(refusal(|s| s.app_secret = Secret::default()).contains("app_secret"));
    assert!(refusal(|s| s.verify_token = Secret::default()).contains("verify_token"));
    assert!(refusal(|s| first(s, &|a| a.access_token = Secret::default())).contains("first.access_token"));
    assert!(
        refusal(|s| first(s, &|a| a.phone_number_id = "../me".to_owned())).contains("first.phone_number_id")
    );
    assert!(refusal(|s| first(s, &|a| a.waba_id = Some(String::new()))).contains("first.waba_id"));
    assert!(refusal(|s| first(s, &|a| a.messages_per_second = 0)).contains("messages_per_second"));
    assert!(refusal(|s| first(s, &|a| a.phone_number_id = SECOND.to_owned())).contains("same"));
    assert!(refusal(|s| s.app_secret_previous = Some(Secret::default())).contains("app_secret_previous"));
    assert!(
        refusal(|s| s.app_secret_previous = Some(Secret::new("old"))).contains("app_secret_previous_until")
    );
    let misspelt = serde_json::from_value::<Settings>(json!({"app_secert": "x"}));
    assert!(misspelt.unwrap_err().to_string().contains("app_secert"));
}

#[test]
fn the_previous_secret_counts_until_its_end_date() {
    let mut settings = settings();
    let end = Timestamp::from_millis(1_795_253_400_000);
    settings.app_secret_previous = Some(Secret::new(SECRET));
    settings.app_secret_previous_until = Some(end);
    settings.app_secret = Secret::new("the new one");
    let channel = built(&settings).unwrap().unwrap();
    let signature = "sha256=5c330c5ca4cd277346d6f5f450f8ec02cd0203c266d07d2a681abe2fe18c14ea".to_owned();
    let body = Bytes::from_static(br#"{"object":"whatsapp_business_account","entry":[]}"#);
    let verdict = |received_at| {
        channel.authenticate(&Callback {
            signatures: vec![signature.clone()],
            body: body.clone(),
            received_at,
        })
    };
    assert_eq!(verdict(end), Ok(()));
    assert_eq!(verdict(end.plus_millis(1)), Err(Rejected::Signature));
}

#[test]
fn the_handshake_asks_for_the_configured_token() {
    let channel = channel();
    assert_eq!(channel.handshake("subscribe", "let me in", "42"), Ok("42".to_owned()));
    assert_eq!(channel.handshake("subscribe", "let me out", "42"), Err(Rejected::VerifyToken));
}
