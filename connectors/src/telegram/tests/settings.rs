//! Settings and what is derived from them.

use tributary_config::Secret;

use super::super::config::Config;

#[test]
fn wrong_settings_are_all_named() {
    let config = Config {
        token: Secret::new("not a token"),
        api_url: "ftp://x.example".parse().expect("a URL"),
        secret_token: Secret::new("with.dot"),
        webhook_connections: 0,
        rate_per_second: 0.0,
        ..Config::default()
    };
    let problems = config.check("channels.shop").err().expect("all wrong");
    let keys: Vec<&str> = problems
        .iter()
        .map(|problem| problem.key.as_str())
        .collect();
    assert_eq!(
        keys,
        [
            "channels.shop.token",
            "channels.shop.api_url",
            "channels.shop.secret_token",
            "channels.shop.webhook_connections",
            "channels.shop.rate_per_second",
        ]
    );
    let text = format!("{problems:?} {config:?}");
    assert!(
        !text.contains("not a token") && !text.contains("with.dot"),
        "{text}"
    );
    let right = Config {
        token: Secret::new("123456789:AAExampleToken"),
        secret_token: Secret::new("x".repeat(256)),
        ..Config::default()
    };
    assert!(right.check("channels.shop").is_ok());
    let long = Config {
        secret_token: Secret::new("x".repeat(257)),
        ..right
    };
    assert!(long.check("channels.shop").is_err());
}

#[test]
fn derived_secrets_are_legal_stable_and_of_the_account() {
    let config = Config {
        token: Secret::new("123456789:AAExampleToken"),
        ..Config::default()
    };
    let secret = config.secret_of("shop");
    assert_eq!(secret.expose().len(), 64);
    assert_eq!(secret.expose(), config.secret_of("shop").expose());
    assert_ne!(secret.expose(), config.secret_of("other").expose());
}
