"""The contracts of `Seal` and `Vault`: what is sealed opens only there, and never again once its key is destroyed."""

from __future__ import annotations

import random
import string
from itertools import combinations
from threading import Barrier, Thread
from typing import cast

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from opportune.core.customers import REGION_SUBJECT, account_subject, person_subject
from opportune.ports import Erased, Seal, Vault

ANN = person_subject("ann")
BEN = person_subject("ben")


class SealContract:
    """Subclass it as `Test…` with `make_seal` and `again`."""

    def make_seal(self) -> Seal:
        """A new seal without a key."""
        raise NotImplementedError

    def again(self, seal: Seal) -> Seal:
        """The same seal after its process died without a word: only what was flushed is left."""
        raise NotImplementedError

    @pytest.fixture
    def seal(self) -> Seal:
        return self.make_seal()

    @pytest.mark.parametrize("subject", [ANN, account_subject("ann"), REGION_SUBJECT])
    @pytest.mark.parametrize("plain", [b"", b"x", b"{}" * 50_000])
    def test_what_is_sealed_opens_for_its_subject_and_place(self, seal: Seal, subject: str, plain: bytes) -> None:
        sealed = seal.seal(subject, "people/ann", plain)
        assert seal.open(subject, "people/ann", sealed) == plain

    def test_sealed_bytes_show_nothing_and_never_repeat(self, seal: Seal) -> None:
        plain = b"ann@example.com " * 4
        sealed = [seal.seal(ANN, "people/ann", plain) for _ in range(100)]
        assert len(set(sealed)) == 100
        assert all(b"ann" not in one and one[:1] == b"\xc1" for one in sealed)

    def test_another_place_or_subject_does_not_open_it(self, seal: Seal) -> None:
        sealed = seal.seal(ANN, "signals/17", b"plain")
        seal.seal(BEN, "signals/18", b"other")
        for subject, place in ((ANN, "signals/18"), (ANN, "signals"), (BEN, "signals/17")):
            with pytest.raises(ValueError, match=place):
                seal.open(subject, place, sealed)

    def test_whatever_was_altered_or_cut_does_not_open(self, seal: Seal) -> None:
        sealed = seal.seal(ANN, "p", b"some plain text")
        altered = [sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :] for at in range(len(sealed))]
        cut = [sealed[:length] for length in range(len(sealed))]
        for one in (*altered, *cut, sealed + b"x"):
            with pytest.raises(ValueError, match="`p`"):
                seal.open(ANN, "p", one)

    def test_without_a_key_it_is_erased(self, seal: Seal) -> None:
        sealed = seal.seal(ANN, "p", b"plain")
        with pytest.raises(Erased):
            self.make_seal().open(ANN, "p", sealed)
        with pytest.raises(Erased):
            seal.open(BEN, "p", sealed)

    def test_a_crash_loses_only_keys_that_were_not_flushed(self, seal: Seal) -> None:
        kept = seal.seal(ANN, "p", b"kept")
        seal.flush()
        seal.flush()
        lost = seal.seal(BEN, "p", b"lost")
        more = seal.seal(ANN, "p", b"more")
        after = self.again(seal)
        assert (after.open(ANN, "p", kept), after.open(ANN, "p", more)) == (b"kept", b"more")
        with pytest.raises(Erased):
            after.open(BEN, "p", lost)
        anew = after.seal(BEN, "p", b"anew")
        after.flush()
        assert self.again(after).open(BEN, "p", anew) == b"anew"

    def test_threads_that_seal_and_flush_at_once_share_one_key_per_subject(self, seal: Seal) -> None:
        subjects = [person_subject(str(number)) for number in range(300)]
        sealed: list[tuple[str, bytes]] = []
        failed: list[BaseException] = []
        together = Barrier(6)

        def work(seed: int) -> None:
            rng = random.Random(seed)  # noqa: S311
            together.wait(30)
            try:
                for step, subject in enumerate(rng.sample(subjects, len(subjects))):
                    one = seal.seal(subject, "p", subject.encode())
                    if step % 10 == seed:
                        seal.flush()
                    assert seal.open(subject, "p", one) == subject.encode()
                    sealed.append((subject, one))
                seal.flush()
            except BaseException as error:  # noqa: BLE001 - a thread has nobody to tell
                failed.append(error)

        threads = [Thread(target=work, args=(seed,)) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert failed == []
        assert len(sealed) == 1_800
        after = self.again(seal)
        assert all(after.open(subject, "p", one) == subject.encode() for subject, one in sealed)


class VaultContract(SealContract):
    """Subclass it as `Test…` with `make` and `reopen`."""

    def make(self) -> Vault:
        """A new vault, with keys of its own."""
        raise NotImplementedError

    def reopen(self, vault: Vault) -> Vault:
        """The same vault after its process died without a word."""
        raise NotImplementedError

    def make_seal(self) -> Seal:
        return self.make()

    def again(self, seal: Seal) -> Seal:
        return self.reopen(cast(Vault, seal))

    @pytest.fixture
    def vault(self) -> Vault:
        return self.make()

    def test_once_destroyed_nothing_opens_any_more(self, vault: Vault) -> None:
        sealed = {subject: vault.seal(subject, "p", b"plain") for subject in (ANN, BEN, REGION_SUBJECT)}
        vault.flush()
        fresh = person_subject("never flushed")
        sealed[fresh] = vault.seal(fresh, "p", b"plain")
        assert vault.destroy([ANN, fresh, "person/nobody"]) == 2
        assert vault.destroy([ANN, fresh]) == 0
        for one in (vault, self.reopen(vault)):
            for gone in (ANN, fresh):
                with pytest.raises(Erased):
                    one.open(gone, "p", sealed[gone])
            assert one.open(BEN, "p", sealed[BEN]) == one.open(REGION_SUBJECT, "p", sealed[REGION_SUBJECT]) == b"plain"

    def test_whoever_comes_back_gets_another_key(self, vault: Vault) -> None:
        before = vault.seal(ANN, "p", b"before")
        vault.flush()
        vault.destroy([ANN])
        after = vault.seal(ANN, "p", b"after")
        vault.flush()
        again = self.reopen(vault)
        assert again.open(ANN, "p", after) == b"after"
        with pytest.raises(ValueError, match="`p`"):
            again.open(ANN, "p", before)

    def test_salts_differ_by_name_subject_and_vault_and_go_with_the_key(self, vault: Vault) -> None:
        names = [(name, subject) for name in ("signal/1", "signal/2") for subject in (ANN, BEN, REGION_SUBJECT)]
        salts = {pair: vault.commit_salt(*pair) for pair in names}
        vault.flush()
        assert {len(salt) for salt in salts.values()} == {32}
        assert all(one != other for one, other in combinations(salts.values(), 2))
        again = self.reopen(vault)
        assert {pair: again.commit_salt(*pair) for pair in names} == salts
        assert self.make().commit_salt("signal/1", ANN) != salts["signal/1", ANN]
        vault.destroy([ANN])
        assert vault.commit_salt("signal/1", ANN) != salts["signal/1", ANN]
        assert vault.commit_salt("signal/1", BEN) == salts["signal/1", BEN]

    @pytest.mark.parametrize("text", ["", "customer-17", "c1\nemail\nmarketing", "ünïcode " * 40])
    def test_a_token_is_read_by_its_vault_for_its_purpose(self, vault: Vault, text: str) -> None:
        token = vault.token("unsubscribe", text)
        assert set(token) <= set(string.ascii_letters + string.digits + "-_")
        assert text == "" or text not in token
        assert vault.read_token("unsubscribe", token) == text == self.reopen(vault).read_token("unsubscribe", token)
        assert vault.read_token("preferences", token) is None
        assert self.make().read_token("unsubscribe", token) is None

    def test_an_altered_token_says_nothing(self, vault: Vault) -> None:
        token = vault.token("unsubscribe", "c1")
        letters = string.ascii_letters + string.digits + "-_"
        altered = [token[:at] + other + token[at + 1 :] for at in range(len(token)) for other in letters]
        found = {vault.read_token("unsubscribe", one) for one in altered if one != token}
        assert found == {None}
        broken = ("", "x", token[:-1], token + "A", token + "=", token + "\n", f" {token}", "é" * 30, "A" * 10_000)
        assert {vault.read_token("unsubscribe", one) for one in broken} == {None}

    def test_names_and_signatures_are_the_same_after_a_restart(self, vault: Vault) -> None:
        again, other = self.reopen(vault), self.make()
        assert vault.identifier("email", "ann@example.com") == again.identifier("email", "ann@example.com")
        assert vault.identifier("email", "1") != vault.identifier("phone", "1")
        assert other.identifier("email", "1") != vault.identifier("email", "1")
        assert vault.public_key() == again.public_key() != other.public_key()
        Ed25519PublicKey.from_public_bytes(vault.public_key()).verify(again.sign(b"grant"), b"grant")
