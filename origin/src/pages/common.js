const token = new URLSearchParams(location.hash.slice(1)).get('token');
// Neither the history nor whoever looks over a shoulder keeps it.
history.replaceState(null, '', location.pathname);
const form = document.querySelector('form');
const said = document.querySelector('[role=status]');

async function send(route, body) {
    const answer = await fetch(route, {
        method: 'POST',
        credentials: 'omit',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ token, ...body }),
    });
    if (answer.ok) return null;
    const problem = await answer.json().catch(() => ({}));
    return problem.detail || 'That did not work. Try again later.';
}

function onSubmit(act) {
    form.addEventListener('submit', async (event) => {
        event.preventDefault();
        const button = form.querySelector('button');
        button.disabled = true;
        try {
            const refusal = await act();
            if (refusal !== null) said.textContent = refusal;
        } catch {
            said.textContent = 'Nobody answers. Try again later.';
        }
        button.disabled = false;
    });
}

if (!token) {
    form.hidden = true;
    said.textContent = 'Open this page by the link in your message.';
}
