//! Signatures, checked by ring, which is here for TLS anyway.
//!
//! `jsonwebtoken` takes its cryptography from outside. Ours verifies and does nothing else: there is no HMAC in it and no
//! way to sign, so no token can have another meaning than a signature by the issuer's private key.

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::signature::{Error, Verifier};
use jsonwebtoken::{Algorithm as Named, DecodingKey, DecodingKeyKind};
use ring::signature::{
    self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};

use super::Algorithm;

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::InvalidAlgorithm.into()),
    verifier_factory: verifier,
    // Nothing here asks for thumbprints or takes keys apart.
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes `jsonwebtoken` use this. To be called before it verifies anything; again does no harm.
pub(super) fn install() {
    let _ = PROVIDER.install_default();
}

/// The name in `jsonwebtoken`.
pub(super) fn named(algorithm: Algorithm) -> Named {
    match algorithm {
        Algorithm::Rs256 => Named::RS256,
        Algorithm::Rs384 => Named::RS384,
        Algorithm::Rs512 => Named::RS512,
        Algorithm::Ps256 => Named::PS256,
        Algorithm::Es256 => Named::ES256,
        Algorithm::Es384 => Named::ES384,
        Algorithm::EdDsa => Named::EdDSA,
    }
}

/// How an algorithm verifies. Keys of fewer than 2048 bits are refused.
#[derive(Clone, Copy)]
enum How {
    Rsa(&'static RsaParameters),
    Curve(&'static dyn VerificationAlgorithm),
}

fn how(algorithm: Named) -> Option<How> {
    Some(match algorithm {
        Named::RS256 => How::Rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
        Named::RS384 => How::Rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
        Named::RS512 => How::Rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
        Named::PS256 => How::Rsa(&signature::RSA_PSS_2048_8192_SHA256),
        Named::ES256 => How::Curve(&signature::ECDSA_P256_SHA256_FIXED),
        Named::ES384 => How::Curve(&signature::ECDSA_P384_SHA384_FIXED),
        Named::EdDSA => How::Curve(&signature::ED25519),
        _ => return None,
    })
}

struct Check {
    algorithm: Named,
    how: How,
    key: DecodingKeyKind,
}

fn verifier(algorithm: &Named, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    let how = how(*algorithm).filter(|_| algorithm.family() == key.family());
    let how = how.ok_or(ErrorKind::InvalidAlgorithm)?;
    Ok(Box::new(Check {
        algorithm: *algorithm,
        how,
        key: key.kind().clone(),
    }))
}

impl JwtVerifier for Check {
    fn algorithm(&self) -> Named {
        self.algorithm
    }
}

impl Verifier<Vec<u8>> for Check {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        let verified = match (self.how, &self.key) {
            (How::Rsa(parameters), DecodingKeyKind::RsaModulusExponent { n, e }) => RsaPublicKeyComponents {
                n: trimmed(n),
                e: trimmed(e),
            }
            .verify(parameters, message, signature),
            (How::Curve(algorithm), DecodingKeyKind::SecretOrDer(point)) => {
                UnparsedPublicKey::new(algorithm, point).verify(message, signature)
            }
            _ => return Err(Error::new()),
        };
        verified.map_err(|_| Error::new())
    }
}

/// Without leading zeroes, which some issuers write and ring does not take.
fn trimmed(number: &[u8]) -> &[u8] {
    let zeroes = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeroes..]
}
