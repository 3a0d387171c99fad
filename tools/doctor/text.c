// SPDX-License-Identifier: MIT
/* text.c - pieces of the human-readable report. */
#include "doctor.h"

#include <string.h>

#define LINE 78

/* Breaks between words; the lines after the first begin at @indent. */
void wrap(const char *text, int at, int indent)
{
	while (*text) {
		int length = (int)strcspn(text, " ");

		if (at > indent && at + 1 + length > LINE) {
			printf("\n%*s", indent, "");
			at = indent;
		} else if (at > indent) {
			putchar(' ');
			at++;
		}
		printf("%.*s", length, text);
		at += length;
		text += length;
		while (*text == ' ')
			text++;
	}
	putchar('\n');
}

void kinds_text(unsigned int kinds, char *text, size_t size)
{
	const unsigned int all = (1u << HMMU_MEMORY_NR) - 2;

	text[0] = '\0';
	if (kinds == all) {
		snprintf(text, size, "all kinds");
		return;
	}
	for (unsigned int m = 1; m < HMMU_MEMORY_NR; m++)
		if (kinds & 1u << m)
			snprintf(text + strlen(text), size - strlen(text), "%s%s",
				 *text ? ", " : "", kind_names[m]);
}
