FROM python
COPY app.py /app.py
USER 10001:10001
CMD ["python3.11", "-u", "/app.py"]
