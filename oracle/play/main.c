// SPDX-License-Identifier: MIT
/*
 * main.c - play [--source NAME] [--caller libc|raw] [--replay LOG] --out LOG SCRIPT...
 *
 * Exit: 0 played (what happened is in the log); 3 the source does not work here; else 1.
 */
#define _GNU_SOURCE
#include "play.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define REFUSED 3
#define SECONDS 60

bool play_raw;
const char *play_source = "kernel";
const char *play_replay;
const char *play_script;

static _Noreturn void play(void)
{
	long ret;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(SECONDS);
	ret = side.open();
	if (ret) {
		fprintf(stderr, "play: %s: open: %s\n", play_script,
			strerrorname_np((int)-ret));
		_exit(ret == -EOPNOTSUPP ? REFUSED : 1);
	}
	regions_init();
	script_play();
	log_flush();
	_exit(0);
}

/* 0, REFUSED, or another status of a child that did not come to its end. */
static int play_one(const char *path)
{
	int status = -1;
	pid_t pid;

	play_script = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	if (script_load(path) || side.prepare()) {
		fprintf(stderr, "play: %s: cannot be loaded, or there is no device\n", path);
		return 1;
	}
	log_line("script %s", play_script);
	log_line("source %s %s", play_source, play_raw ? "raw" : "libc");
	log_flush();
	pid = fork();
	if (!pid)
		play();
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	side.after();
	if (WIFSIGNALED(status))
		log_line("died of signal %d", WTERMSIG(status));
	else if (WEXITSTATUS(status))
		log_line("died with %d", WEXITSTATUS(status));
	log_line("over");
	log_flush();
	return WIFSIGNALED(status) ? 1 : WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"source", required_argument, NULL, 's'},
		{"caller", required_argument, NULL, 'c'},
		{"replay", required_argument, NULL, 'r'},
		{"out", required_argument, NULL, 'o'},
		{NULL, 0, NULL, 0},
	};
	const char *out = "/dev/stdout";
	int c, ret = 0;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 's')
			play_source = optarg;
		else if (c == 'c')
			play_raw = !strcmp(optarg, "raw");
		else if (c == 'r')
			play_replay = optarg;
		else if (c == 'o')
			out = optarg;
		else
			return 2;
	}
	log_open(out);
	for (int i = optind; i < argc && ret != REFUSED; i++) {
		int one = play_one(argv[i]);

		ret = one ? one : ret;
	}
	return ret;
}
