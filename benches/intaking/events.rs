//! The deliveries that both contenders get: whole HTTP requests, signed beforehand.
//!
//! All data is invented here. Users are distinct up to a number of keys and then come again with a newer
//! version; every delivery has an id of its own, and versions rise in the order of sending, as Clerk's do.
//! Requests lie in one allocation, so that sending one costs a copy into the socket and nothing else.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use svix::webhooks::Webhook;

/// How long signed requests are used: the receivers accept five minutes.
const FRESH: Duration = Duration::from_secs(200);

/// Signed requests, in the order of sending.
pub struct Requests {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    first_key: usize,
    keys: usize,
    first_version: i64,
    signed: Instant,
}

impl Requests {
    /// Signs `count` deliveries about `keys` users, numbered from `first_key` on.
    pub fn sign(count: usize, first_key: usize, keys: usize, secret: &str) -> Requests {
        let webhook = Webhook::new(secret).expect("the sandbox's secret decodes");
        let now_ms = now().as_millis() as i64;
        let first_version = now_ms - count as i64;
        let mut requests = Requests {
            bytes: Vec::with_capacity(count * 2900),
            ends: Vec::with_capacity(count),
            first_key,
            keys,
            first_version,
            signed: Instant::now(),
        };
        let now_s = now_ms / 1000;
        for index in 0..count {
            let body = body(
                &key(first_key + index % keys),
                index,
                first_version + index as i64,
            );
            // Unique over runs too: state directories may be used again.
            let id = format!("msg_{now_ms:013}{index:012}");
            let signature = webhook
                .sign(&id, now_s, body.as_bytes())
                .expect("any text can be signed");
            let head = format!(
                "POST /api/webhooks/clerk HTTP/1.1\r\nhost: localhost\r\naccept: */*\r\n\
                 user-agent: Svix-Webhooks/1.84.0 (sender-9YMgn; +https://www.svix.com/http-sender/)\r\n\
                 content-type: application/json\r\nsvix-id: {id}\r\nsvix-timestamp: {now_s}\r\n\
                 svix-signature: {signature}\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            requests.bytes.extend_from_slice(head.as_bytes());
            requests.bytes.extend_from_slice(body.as_bytes());
            requests.ends.push(requests.bytes.len());
        }
        requests
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// One request, head and body.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)?;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.bytes.get(start..end)
    }

    /// The user that a delivery is about.
    pub fn key(&self, index: usize) -> String {
        key(self.first_key + index % self.keys)
    }

    /// The version that a delivery carries, in milliseconds.
    pub fn version(&self, index: usize) -> i64 {
        self.first_version + index as i64
    }

    /// True while receivers accept the signatures.
    pub fn is_fresh(&self) -> bool {
        self.signed.elapsed() < FRESH
    }
}

/// Since the epoch.
pub fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock after 1970")
}

fn key(user: usize) -> String {
    // As long as Clerk's ids.
    format!("user_3bench{user:020}")
}

fn body(key: &str, index: usize, version: i64) -> String {
    let created = version - 86_400_000;
    let clicks = index % 977;
    format!(
        concat!(
            r#"{{"data":{{"backup_code_enabled":false,"banned":false,"bio":null,"birthday":null,"create_organization_enabled":true,"#,
            r#""created_at":{created},"delete_self_enabled":true,"email_addresses":[{{"created_at":{created},"#,
            r#""email_address":"mira.{index}@harbour-mail.example","id":"idn_3mail{index:021}","linked_to":[{{"id":"idn_3link{index:021}","type":"oauth_google"}}],"#,
            r#""matches_sso_connection":false,"object":"email_address","reserved":false,"updated_at":{created},"#,
            r#""verification":{{"attempts":1,"expire_at":{created},"status":"verified","strategy":"email_code"}}}}],"#,
            r#""enterprise_accounts":[],"external_accounts":[{{"approved_scopes":"email openid profile","created_at":{created},"#,
            r#""email_address":"mira.{index}@harbour-mail.example","first_name":"Mira","id":"eac_3acct{index:021}","identification_id":"idn_3link{index:021}","#,
            r#""image_url":"https://images.harbour.example/u/{index}/portrait.png","last_name":"Tanaka-Lind","object":"external_account","#,
            r#""provider":"oauth_google","public_metadata":{{}},"updated_at":{created},"username":null,"verification":{{"attempts":null,"expire_at":{created},"status":"verified","strategy":"oauth_google"}}}}],"#,
            r#""external_id":"crm-{index}","first_name":"Mira","gender":"","has_image":true,"id":"{key}","#,
            r#""image_url":"https://img.clerk.com/eyJ0eXBlIjoicHJveHkiLCJzcmMiOiJodHRwczovL2ltYWdlcy5oYXJib3VyLmV4YW1wbGUvdS9wb3J0cmFpdC5wbmcifQ","#,
            r#""last_active_at":{version},"last_name":"Tanaka-Lind","last_sign_in_at":{version},"legal_accepted_at":null,"locale":"en-GB","locked":false,"lockout_expires_in_seconds":null,"#,
            r#""mfa_disabled_at":null,"mfa_enabled_at":null,"object":"user","passkeys":[],"password_enabled":true,"password_last_updated_at":{created},"phone_numbers":[],"#,
            r#""primary_email_address_id":"idn_3mail{index:021}","primary_phone_number_id":null,"primary_web3_wallet_id":null,"private_metadata":{{"ledgerAccount":"acct-{index}"}},"#,
            r#""profile_image_url":"https://images.harbour.example/u/{index}/portrait.png","public_metadata":{{"role":"user","plan":"harbour","clicks":{clicks}}},"saml_accounts":[],"#,
            r#""totp_enabled":false,"two_factor_enabled":false,"unsafe_metadata":{{"theme":"dusk"}},"updated_at":{version},"username":"mira{index}","verification_attempts_remaining":100,"web3_wallets":[]}},"#,
            r#""event_attributes":{{"http_request":{{"client_ip":"203.0.113.7","user_agent":"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}}}},"#,
            r#""instance_id":"ins_3benchHarbour00000000000000","object":"event","timestamp":{version},"type":"user.updated"}}"#
        ),
        created = created,
        index = index,
        key = key,
        version = version,
        clicks = clicks,
    )
}
