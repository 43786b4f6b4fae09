//! What a rule asks of a token's holder, and how a refusal names it.

use edgekeep_shared::error::Rejection;
use edgekeep_shared::policy::{Holder, Missing, Policy, Requirement};

use crate::support::token_access;

fn requirement(rest: &str) -> Requirement {
    let policy = Policy::parse(&format!("[[route]]\nmatch = \"/a\"\n{rest}")).unwrap();
    token_access(&policy.rules()[0]).requirement.clone()
}

const NOBODY: Holder<'static, &str> = Holder {
    scopes: &[],
    roles: &[],
    permissions: &[],
    kyc_level: None,
    amr: &[],
    acr: None,
    auth_time: None,
};

/// The code of the refusal and the challenge's parameters; `ok` where nothing is missing.
fn outcome(requirement: &Requirement, holder: &Holder<'_, &str>, now: i64) -> String {
    match requirement.check(holder, now) {
        Ok(()) => "ok".into(),
        Err(missing) => {
            let mut text = missing.rejection().code().to_owned();
            missing.write_challenge(&mut text);
            text
        }
    }
}

#[test]
fn asks_for_rights() {
    let all = requirement("scopes = [\"a\", \"b\"]");
    let scoped = |scopes| Holder { scopes, ..NOBODY };
    assert_eq!(outcome(&all, &scoped(&["b", "c", "a"]), 0), "ok");
    for scopes in [&["a"][..], &[], &["ab"], &["A", "b"], &["a b"]] {
        let expected = "insufficient_scope, scope=\"a b\"";
        assert_eq!(outcome(&all, &scoped(scopes), 0), expected, "{scopes:?}");
    }
    let any = requirement("any_scope = [\"a\", \"b\"]");
    assert_eq!(outcome(&any, &scoped(&["b"]), 0), "ok");
    assert_eq!(
        outcome(&any, &scoped(&["c"]), 0),
        "insufficient_scope, scope=\"a b\""
    );

    let roles = requirement("roles = [\"admin\", \"staff\"]");
    assert_eq!(
        outcome(
            &roles,
            &Holder {
                roles: &["staff"],
                ..NOBODY
            },
            0
        ),
        "ok"
    );
    assert_eq!(
        outcome(
            &roles,
            &Holder {
                roles: &["Admin"],
                ..NOBODY
            },
            0
        ),
        "insufficient_role"
    );
    assert_eq!(outcome(&roles, &scoped(&["admin"]), 0), "insufficient_role");

    let permissions = requirement("permissions = [\"p\", \"q\"]");
    let holding = |permissions| Holder {
        permissions,
        ..NOBODY
    };
    assert_eq!(outcome(&permissions, &holding(&["q", "p"]), 0), "ok");
    assert_eq!(
        outcome(&permissions, &holding(&["p"]), 0),
        "insufficient_permission"
    );

    let kyc = requirement("kyc_level = 2");
    for (level, expected) in [
        (None, "kyc_required"),
        (Some(1), "kyc_required"),
        (Some(2), "ok"),
        (Some(255), "ok"),
    ] {
        assert_eq!(
            outcome(
                &kyc,
                &Holder {
                    kyc_level: level,
                    ..NOBODY
                },
                0
            ),
            expected
        );
    }
    assert_eq!(outcome(&Requirement::default(), &NOBODY, 0), "ok");
}

#[test]
fn counts_kinds_of_factors() {
    let mfa = requirement("mfa = true");
    let table: &[(&[&str], bool)] = &[
        (&["mfa"], true),
        (&["pwd", "otp"], true),
        (&["otp", "pwd"], true),
        (&["pwd", "sms", "user"], true),
        (&["hwk", "fpt"], true),
        (&["hwk", "pin"], true),
        (&["pwd", "face"], true),
        (&["swk", "kba"], true),
        (&[], false),
        (&["pwd"], false),
        (&["pwd", "pwd"], false),
        (&["pwd", "pin", "kba"], false),
        (&["otp", "sms", "hwk", "swk", "sc", "tel", "pop"], false),
        (&["face", "fpt", "iris", "retina", "vbm"], false),
        (&["pwd", "user"], false),
        (&["pwd", "geo", "rba", "wia", "mca"], false),
        (&["pwd", "email"], false),
        (&["pwd", "OTP"], false),
        (&["MFA"], false),
        (&["pwd,otp"], false),
    ];
    for (amr, enough) in table {
        let expected = if *enough { "ok" } else { "step_up_required" };
        assert_eq!(
            outcome(&mfa, &Holder { amr, ..NOBODY }, 0),
            expected,
            "{amr:?}"
        );
    }
}

#[test]
fn asks_for_fresh_authentication_to_the_second() {
    let fresh = requirement("max_age = 300");
    let table: &[(Option<i64>, bool)] = &[
        (Some(1000), true),
        (Some(701), true),
        (Some(700), true),
        (Some(699), false),
        (Some(0), false),
        (Some(i64::MIN), false),
        (Some(1005), true),
        (Some(1006), false),
        (Some(i64::MAX), false),
        (None, false),
    ];
    for (auth_time, enough) in table {
        let expected = if *enough {
            "ok"
        } else {
            "step_up_required, max_age=\"300\""
        };
        let holder = Holder {
            auth_time: *auth_time,
            ..NOBODY
        };
        assert_eq!(outcome(&fresh, &holder, 1000), expected, "{auth_time:?}");
    }
    // The ends of time overflow nothing.
    let holder = Holder {
        auth_time: Some(i64::MIN),
        ..NOBODY
    };
    assert!(fresh.check(&holder, i64::MAX).is_err() && fresh.check(&holder, i64::MIN).is_ok());
}

#[test]
fn asks_for_everything_of_a_step_up_at_once_and_for_rights_first() {
    let all =
        requirement("roles = [\"r\"]\nacr = [\"gold\", \"silver\"]\nmax_age = 60\nmfa = true");
    assert_eq!(outcome(&all, &NOBODY, 0), "insufficient_role");
    let step_up = "step_up_required, acr_values=\"gold silver\", max_age=\"60\"";
    let role = Holder {
        roles: &["r"],
        ..NOBODY
    };
    assert_eq!(outcome(&all, &role, 0), step_up);
    let strong = Holder {
        acr: Some("silver"),
        amr: &["mfa"],
        auth_time: Some(0),
        ..role
    };
    assert_eq!(outcome(&all, &strong, 60), "ok");
    assert_eq!(outcome(&all, &strong, 61), step_up);
    assert_eq!(
        outcome(
            &all,
            &Holder {
                acr: Some("Gold"),
                ..strong
            },
            60
        ),
        step_up
    );
    assert_eq!(
        outcome(
            &all,
            &Holder {
                acr: None,
                ..strong
            },
            60
        ),
        step_up
    );
    assert_eq!(
        outcome(
            &all,
            &Holder {
                amr: &["pwd"],
                ..strong
            },
            60
        ),
        step_up
    );
    assert!(matches!(
        all.check(&role, 0),
        Err(Missing::StepUp {
            mfa: true,
            max_age: Some(60),
            ..
        })
    ));
    assert_eq!(
        all.check(&role, 0).unwrap_err().rejection(),
        Rejection::StepUpRequired
    );
}
