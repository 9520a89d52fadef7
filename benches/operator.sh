# For scripts that measure a running operator; to be sourced. They have `work`, a directory of their own, and `say`.

operator= health_port= began_at=
account=system:serviceaccount:lotest-system:lotest

free_port() { # below the range the kernel hands out by itself; into REPLY
  while true; do
    REPLY=$((15000 + RANDOM % 17000))
    (exec 3<>"/dev/tcp/127.0.0.1/$REPLY") 2>/dev/null || return 0
  done
}

is_ready() {
  exec 3<>"/dev/tcp/127.0.0.1/$health_port" || return 1
  printf 'GET /readyz HTTP/1.0\r\n\r\n' >&3
  local line
  read -r line <&3
  exec 3>&-
  [[ $line == *' 200 '* ]]
}

start_operator() { # arguments...: until it is ready
  free_port && health_port=$REPLY
  began_at=$EPOCHREALTIME
  KUBECONFIG=$LOTEST_TEST_OPERATOR_KUBECONFIG "$lotest" operator \
    --health-probe-bind-address "127.0.0.1:$health_port" --metrics-bind-address 0 "$@" \
    >>"$work/operator.log" 2>&1 &
  operator=$!
  until is_ready 2>/dev/null; do
    kill -0 "$operator" 2>/dev/null || { say "the operator ended"; exit 1; }
    sleep 0.02
  done
}

stop_operator() {
  [[ -n $operator ]] || return 0
  kill "$operator" 2>/dev/null || true
  wait "$operator" 2>/dev/null || true
  operator=
}

memory_of() { # VmRSS, VmHWM or another line of /proc/PID/status, in KiB; into REPLY
  REPLY=$(awk -v line="$1:" '$1 == line { print $2 }' "/proc/$operator/status")
}

resident() { # in KiB, when it has been the same for three seconds; into REPLY
  local before same=0
  REPLY=0
  for _ in {1..120}; do
    before=$REPLY
    memory_of VmRSS
    if ((REPLY == before)); then same=$((same + 1)); else same=0; fi
    ((same < 6)) || return 0
    sleep 0.5
  done
  say "the resident memory does not come to rest"
}

cpu() { # hundredths of a second that the operator has run; into REPLY
  REPLY=$(awk '{ print $14 + $15 }' "/proc/$operator/stat")
}

requests_in() { # namespace: what the operator asked for there, one JSON object a line, watches aside: those go on
  grep -F "\"username\":\"$account\"" "$LOTEST_TEST_AUDIT_LOG" | grep -F "\"namespace\":\"$1\"" |
    grep -vF '"verb":"watch"' || true
}
