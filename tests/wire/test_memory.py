"""What one case leaves behind must not change the next: all of them through one plane, there and back."""

from __future__ import annotations

import pytest

from tests.protocol.rig import Rig, send
from tests.wire.cases import joined_chunks, load
from tests.wire.test_requests import PLAIN_REPLY, reply


@pytest.mark.parametrize("order", [1, -1], ids=["there", "back"])
async def test_cases_do_not_depend_on_each_other(order: int) -> None:
    rig = Rig()
    valid = [case for case in load("requests/valid") if "listen" not in case.fields]
    cases = valid + load("requests/invalid")
    for _ in range(2):
        for case in cases[::order]:
            for upstream in rig.upstreams:
                upstream.take()
            client = rig.client()
            send(client, case.wire("send"))
            await rig.settle()
            if "answer" in case.fields:
                assert reply(client)[0] == 200, case.name
                client.close()
                continue
            if "status" in case.fields:
                assert reply(client)[0] == case.fields["status"], case.name
                continue
            asked = next(upstream for upstream in rig.upstreams if upstream.written and not upstream.closing)
            own_id = case.wire("forward").partition(b"X-Request-Id: ")[2].partition(b"\r\n")[0]
            got_id = bytes(asked.written).partition(b"X-Request-Id: ")[2].partition(b"\r\n")[0]
            got = joined_chunks(asked.take().replace(got_id, own_id))
            assert got == joined_chunks(case.wire("forward")), case.name
            send(asked, PLAIN_REPLY)
            client.close()
    assert not rig.errors
