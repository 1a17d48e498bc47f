"""Applications: programs that take part in events over a socket, without a hook file.

`protocol` is the wire format and what each line means, pure; `admission` says who may connect; `server` has the
connections and the runs under way. The lifecycle sees a participant like any other.
"""
