// SPDX-License-Identifier: MIT
/*
 * churn.c - allocates and frees in four threads, under another allocator and the hooks,
 * both preloaded. At the end the recorder must have been told of that allocator's own
 * calls, and no bracket be left open.
 *
 *	churn SYMBOL	of the allocator that must be there
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "module.h"

#define THREADS 4
#define SLOTS 64
#define STEPS 4000

static void *churn(void *arg)
{
	unsigned int seed = (unsigned int)(size_t)arg;
	char *slot[SLOTS] = {NULL};

	for (int i = 0; i < STEPS; i++) {
		unsigned int r = seed = seed * 1103515245u + 12345u;
		size_t n = (r >> 8) % 16 ? (r >> 12) % 2000 + 1 : (r >> 12) % (2u << 20) + 1;
		char **p = &slot[(r >> 4) % SLOTS];

		if (r % 3 == 0) {
			*p = realloc(*p, n);
		} else {
			free(*p);
			*p = malloc(n);
		}
		if (*p)
			memset(*p, 'c', n < 20000 ? n : 20000);
	}
	for (int i = 0; i < SLOTS; i++)
		free(slot[i]);
	return NULL;
}

int main(int argc, char **argv)
{
	unsigned int (*starts)(void), (*open_now)(void);
	bool (*any)(enum mmu_notifier_event);
	pthread_t t[THREADS];
	pid_t pid;
	int status = 0;

	*(void **)&starts = dlsym(RTLD_DEFAULT, "rec_starts");
	*(void **)&open_now = dlsym(RTLD_DEFAULT, "rec_open");
	*(void **)&any = dlsym(RTLD_DEFAULT, "rec_any");
	if (argc < 2 || !dlsym(RTLD_DEFAULT, argv[1]) || !starts) {
		fprintf(stderr, "churn: not preloaded\n");
		return 1;
	}
	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < THREADS; i++)
			pthread_create(&t[i], NULL, churn, (void *)(i + 1));
		for (int i = 0; i < THREADS; i++)
			pthread_join(t[i], NULL);
	}
	pid = fork();
	if (!pid) {
		churn((void *)9);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	printf("%s: %u brackets, clear %d, unmap %d, protection %d, child 0x%x\n", argv[1],
	       starts(), any(MMU_NOTIFY_CLEAR), any(MMU_NOTIFY_UNMAP),
	       any(MMU_NOTIFY_PROTECTION_VMA), status);
	if (open_now()) {
		printf("a bracket is left open\n");
		return 1;
	}
	return status || starts() < 10 || !any(MMU_NOTIFY_CLEAR);
}
