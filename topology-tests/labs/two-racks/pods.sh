#!/bin/sh
# Two pods on host N: network namespaces with a policy-controlled interface each. `web-N` serves TCP 8080 and 9090.
set -eu
n=$1
until linnet status > /dev/null 2>&1; do sleep 0.2; done
for pod in client:20 web:10; do
    role=${pod%:*} last=${pod#*:}
    name=$role-$n
    ip netns add "$name"
    linnet endpoint add --name "$name" --netns "/run/netns/$name" --ip "10.244.$n.$last" --ip "fd00:244:$n::$last" --label "role=$role"
done
for port in 8080 9090; do
    nsenter --net="/run/netns/web-$n" nc -lk "$port" < /dev/null > /dev/null 2>&1 &
done
