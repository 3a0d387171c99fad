// SPDX-License-Identifier: MIT
/*
 * driver.c - replays inputs without libFuzzer: `TARGET FILE...`. A file *.hex has one input
 * a line, in hexadecimal digits, "#" begins a comment; any other file is one input.
 */
#include "fuzz.h"

#include <ctype.h>

#define LONGEST (1 << 20)

static uint8_t bytes[LONGEST];
static unsigned int inputs;

static void run(size_t n)
{
	/* As libFuzzer does: of exactly that size, for the sanitizer to see its end. */
	uint8_t *copy = malloc(n ? n : 1);

	memcpy(copy, bytes, n);
	LLVMFuzzerTestOneInput(copy, n);
	free(copy);
	inputs++;
}

static int digit(int c)
{
	return isdigit(c) ? c - '0' : isxdigit(c) ? tolower(c) - 'a' + 10 : -1;
}

static void run_line(const char *file, unsigned int line, const char *text)
{
	size_t n = 0;

	for (; digit(text[0]) >= 0 && digit(text[1]) >= 0 && n < LONGEST; text += 2)
		bytes[n++] = (uint8_t)(digit(text[0]) << 4 | digit(text[1]));
	if (*text && !isspace((unsigned char)*text)) {
		fprintf(stderr, "%s:%u: not hexadecimal\n", file, line);
		exit(2);
	}
	/* Said before it is known to pass. */
	fprintf(stderr, "%s:%u: %zu bytes\n", file, line, n);
	run(n);
}

static void run_lines(const char *name, FILE *f)
{
	unsigned int line = 0;
	char *text = NULL;
	size_t room = 0;

	while (getline(&text, &room, f) > 0) {
		line++;
		if (text[0] != '#')
			run_line(name, line, text);
	}
	free(text);
}

static void run_file(const char *name)
{
	const char *dot = strrchr(name, '.');
	FILE *f = fopen(name, "r");

	if (!f) {
		perror(name);
		exit(2);
	}
	if (dot && !strcmp(dot, ".hex"))
		run_lines(name, f);
	else
		run(fread(bytes, 1, sizeof(bytes), f));
	fclose(f);
}

__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	return 0;
}

/* For targets with a mutator of their own; never called here. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max)
{
	return size;
}

int main(int argc, char **argv)
{
	LLVMFuzzerInitialize(&argc, &argv);
	for (int i = 1; i < argc; i++)
		run_file(argv[i]);
	printf("%u inputs\n", inputs);
	return inputs ? 0 : 1;
}
