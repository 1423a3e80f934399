//! `MySqlStore` passes the public conformance suite.

#[path = "support/mysql.rs"]
mod mysql;
mod support;

use keyward::testing::BlockOn as _;
use support::OnTokio;

macro_rules! checks {
    ($($check:ident),* $(,)?) => {$(
        #[test]
        fn $check() {
            if let Some(store) = OnTokio.block_on(mysql::mysql_store(stringify!($check))) {
                keyward::testing::$check(&OnTokio, &store);
            }
        }
    )*};
}

keyward::each_conformance_check!([checks]);

/// As an audit store.
mod audit {
    use super::{OnTokio, mysql};
    use keyward::testing::BlockOn as _;

    keyward::each_audit_conformance_check!([checks]);
}
